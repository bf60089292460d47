"""Settlement: double entry, what is posted when, and the life cycles of ETC transactions and holds (facts and rules).

Every entry balances, is booked once by its key and never changed. What a visit owes is the balance of `receivable` over
the entries that carry its id: > 0 arrears, < 0 owed back.

event                              key                        debit                        credit
charge of a visit, version n       charge:<visit>:<n>         receivable:<lot> (delta)     revenue:<lot>
ETC payment, complete              etc:<terminal>:<serial>    etc_clearing                 receivable:<lot>
ETC payment, TAC lost              etc:...                    etc_awaiting_tac             receivable:<lot>
ETC payment, a check failed        etc:...                    etc_held                     receivable:<lot>
completion (late TAC)              etc_ready:...              etc_clearing                 etc_awaiting_tac
completion that raises a doubt     etc_held:...               etc_held                     etc_awaiting_tac
released by a person               etc_ready:...              etc_clearing                 etc_held
rejected by a person               etc_rejected:...           receivable:<lot>             etc_held, etc_awaiting_tac
package sent, package booked       none: still in etc_clearing until the centre's day is cleared
dispute                            etc_disputed:...           etc_disputed                 etc_clearing
dispute decided: pay               etc_booked:...             etc_clearing                 etc_disputed
dispute decided, or given up: bad  etc_bad_debt:...           bad_debt:<lot>               etc_disputed, etc_held, ...
cleared day, version n             clearing_day:<day>:<n>     bank                         etc_clearing
QR payment                         qr:<acquirer>:<ref>        acquirer:<code>              receivable:<lot>
cash                               cash:<operator>:<ref>      cash:<operator>              receivable:<lot>
captured hold                      hold:<key>                 the channel's account        receivable:<lot>
promise of a shared space paid     reservation:<code>,        preauthorised:<code>         revenue:<lot>,
                                   permit:<code>:<yyyy-mm>                                 owner_payable:<lot>
openings of a permit lost          permit_refund:<code>:...   revenue:<lot>,               preauthorised:<code>
                                                              owner_payable:<lot>
promise given back by a person     promise_refund:<promise>:<n>  as openings lost
acquirer's bill of a day           acquirer_bill:<code>:<day> bank, acquirer_fees          acquirer:<code>
refund ordered                     refund_ordered:<key>       receivable and/or revenue    refunds_payable
refund paid                        refund_paid:<key>          refunds_payable              the channel's account
arrears written off                write_off:<key>            write_off:<lot>              receivable:<lot>
payment moved to another visit     moved_out:<key>            receivable:<lot of the old>  moved
                                   moved_in:<key>             moved                        receivable:<lot of the new>
month statement, version n         statement:<op>:<month>:<n> distributed:<operator>       operator_payable:<operator>,
                                                                                           district_share
"""

from __future__ import annotations

from parking_core.settlement.accounts import Account, AccountKind, account, account_of_channel
from parking_core.settlement.arrears import Arrear, oldest_first
from parking_core.settlement.entries import Entry, EntryKind, Posting, UnbalancedError
from parking_core.settlement.etc import BLOCKING, TAC_PATIENCE, Completion, EtcState, EtcTransaction
from parking_core.settlement.holds import Hold, HoldState

__all__ = [
    "BLOCKING",
    "TAC_PATIENCE",
    "Account",
    "AccountKind",
    "Arrear",
    "Completion",
    "Entry",
    "EntryKind",
    "EtcState",
    "EtcTransaction",
    "Hold",
    "HoldState",
    "Posting",
    "UnbalancedError",
    "account",
    "account_of_channel",
    "oldest_first",
]
