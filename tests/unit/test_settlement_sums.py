"""Sums: whatever happens in whatever order, accounts balance, and a visit owes its charges less its payments."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from parking_core.settlement import (
    Account,
    AccountKind,
    Arrear,
    Entry,
    EtcState,
    EtcTransaction,
    account,
    oldest_first,
    postings,
)
from parking_core.settlement import etc as etc_rules
from parking_core.settlement.accounts import MOVED, receivable
from tests.unit.test_settlement import NOON, WHO, a_transaction


def an_arrear(visit: int, exited_min: int, owed_fen: int) -> Arrear:
    return Arrear(
        visit_id=visit, lot="P01", vehicle="v", exited_at=NOON + timedelta(minutes=exited_min), owed_fen=owed_fen
    )


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 1000)), max_size=8, unique_by=lambda one: one[0]),
    st.integers(0, 5000),
)
def test_arrears_are_paid_oldest_first_and_never_beyond(owed: list[tuple[int, int]], amount: int) -> None:
    arrears = [an_arrear(number, minute, fen) for number, (minute, fen) in enumerate(owed)]
    shares = oldest_first(arrears, amount)
    assert sum(share for _, share in shares) == min(amount, sum(fen for _, fen in owed))
    order = [one.exited_at for one, _ in shares]
    assert order == sorted(order)
    assert all(share == one.owed_fen for one, share in shares[:-1])
    assert all(0 < share <= one.owed_fen for one, share in shares)


class Ledger:
    """The rules applied to one visit in whatever order life allows; the oracle counts with plain numbers."""

    def __init__(self) -> None:
        self.balances: dict[Account, int] = {}
        self.keys: set[str] = set()
        self.charge = self.version = self.paid = self.refunded = self.allowed = self.written_off = self.number = 0
        self.transactions: list[EtcTransaction] = []

    def book(self, *entries: Entry | None) -> None:
        for entry in entries:
            if entry is None:
                continue
            assert entry.key not in self.keys
            self.keys.add(entry.key)
            for posting in entry.postings:
                self.balances[posting.account] = self.balances.get(posting.account, 0) + posting.amount_fen

    @property
    def owed(self) -> int:
        return self.balances.get(receivable("P01"), 0)

    def step(self, action: int, fen: int) -> None:
        self.number += 1
        one: dict[str, Any] = {"visit_id": 1, "lot": "P01", "at": NOON}
        match action:
            case 0 if fen != self.charge:
                self.version += 1
                self.book(postings.charge_changed(version=self.version, delta_fen=fen - self.charge, **one))
                self.charge = fen
            case 1:
                state = (EtcState.READY, EtcState.AWAITING_TAC, EtcState.HELD)[fen % 3]
                self.transactions.append(
                    a_transaction(terminal_serial=str(self.number), amount_fen=fen + 1, state=state)
                )
                self.book(postings.etc_paid(self.transactions[-1]))
                self.paid += fen + 1
            case 2 if self.transactions:
                self._change(fen)
            case 3:
                self.book(postings.qr_paid(acquirer="x", reference=str(self.number), amount_fen=fen + 1, **one))
                self.paid += fen + 1
            case 4 if self.paid > self.refunded:
                amount = 1 + fen % (self.paid - self.refunded)
                overpaid = max(0, min(-self.owed, amount))
                key = str(self.number)
                self.book(
                    postings.refund_ordered(key=key, amount_fen=amount, overpaid_fen=-self.owed, detail=WHO, **one),
                    postings.refund_paid(key=key, visit_id=1, channel="bank", amount_fen=amount, at=NOON, detail=WHO),
                )
                self.refunded += amount
                self.allowed += amount - overpaid
            case 5 if self.owed > 0:
                self.written_off += self.owed
                self.book(postings.written_off(key=str(self.number), amount_fen=self.owed, detail=WHO, **one))
            case 6:
                self.book(
                    *postings.payment_moved(
                        key=str(self.number), source=(1, "P01"), target=(2, "P02"), amount_fen=fen + 1, at=NOON
                    )
                )
                self.paid -= fen + 1

    def _change(self, fen: int) -> None:
        before = self.transactions.pop(0)
        allowed = sorted(etc_rules.CHANGES[before.state] - {EtcState.READY} or etc_rules.CHANGES[before.state])
        if not allowed:
            return
        after = allowed[fen % len(allowed)]
        self.book(postings.etc_changed(before, after, NOON))
        self.transactions.append(replace(before, state=after))
        if after is EtcState.REJECTED:
            self.paid -= before.amount_fen


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2000)), max_size=30))
def test_whatever_happens_all_accounts_sum_to_zero_and_a_visit_owes_charges_less_payments(
    steps: list[tuple[int, int]],
) -> None:
    ledger = Ledger()
    for action, fen in steps:
        ledger.step(action, fen)
        assert sum(ledger.balances.values()) == 0
        assert ledger.balances.get(MOVED, 0) == 0
        owed = ledger.charge - ledger.allowed - ledger.paid + ledger.refunded - ledger.written_off
        assert ledger.owed == owed
        assert ledger.balances.get(account("refunds_payable"), 0) == 0
    held = sum(one.amount_fen for one in ledger.transactions if one.state is EtcState.HELD)
    assert ledger.balances.get(Account(AccountKind.ETC_HELD), 0) == held


@given(
    st.lists(st.tuples(st.integers(1, 100_000), st.integers(0, 1000), st.sampled_from(["P01", "P02"])), max_size=30),
)
def test_money_of_promises_balances_and_owners_get_their_part(promises: list[tuple[int, int, str]]) -> None:
    balances: dict[str, int] = {}
    for number, (fen, permille, lot) in enumerate(promises):
        entry = postings.promise_paid(
            key=f"reservation:{number}", channel="hold:x", lot=lot, amount_fen=fen, owner_permille=permille, at=NOON
        )
        owner = -entry.on(account(f"owner_payable:{lot}"))
        assert abs(owner - fen * permille / 1000) <= 0.5
        assert owner - entry.on(account(f"revenue:{lot}")) == fen
        for posting in entry.postings:
            balances[posting.account.code] = balances.get(posting.account.code, 0) + posting.amount_fen
    assert sum(balances.values()) == 0
    assert balances.get("preauthorised:x", 0) == sum(fen for fen, _, _ in promises)
