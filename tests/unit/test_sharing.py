"""Terms of agreements and the policy of allocation: read, refused with every reason, written back."""

from __future__ import annotations

import pytest

from parking_core.errors import InvalidInputError
from parking_core.people import Person, Role, digest_of, new_token
from parking_core.sharing import AgreementState, AllocationPolicy, Terms, may_become, read_policy, read_terms


def test_what_is_left_out_is_as_usual_and_what_is_written_is_read_again() -> None:
    terms = read_terms({"notice_h": 48, "eligible": ["resident", "patient"]})
    assert (terms.notice_h, terms.permit_fen_per_month) == (48, 20_000)
    assert read_terms(terms.document()) == terms
    policy = read_policy({"floors": {"patient": 0.25}})
    assert read_policy(policy.document()) == policy
    assert read_policy({}) == AllocationPolicy()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"notice": 3}, "no field 'notice'"),
        ({"notice_h": "soon"}, "Expected `int`"),
        ({"owner_permille": 1001}, "owner_permille is 1001"),
        ({"failure_rate": 0.0}, "failure_rate is 0.0"),
        ({"eligible": []}, "names nobody"),
        ([], "Expected `object`"),
    ],
)
def test_terms_that_cannot_be_used_say_why(document: object, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_terms(document)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"notice_h is -1.*owner_permille is 2000"):
        Terms(notice_h=-1, owner_permille=2000)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"floors": {"patient": 1.5}}, "floor of patient is 1.5"),
        ({"early_min": -5}, "early_min is -5"),
        ({"overstay": {"charged_from_min": 90}}, "give them in order"),
        ({"buffers": {"guest_most_min": 61}}, "not on a grid"),
        ({"day_ahead_at_hour": 24}, "day_ahead_at_hour is 24, above 23"),
        ({"early_min": 10**15}, "early_min is 1000000000000000, above 720"),
        ({"longest_stay_h": 73}, "longest_stay_h is 73, above 72"),
        ({"overstay": {"violation_from_min": 10**15}}, "none beyond 10080"),
        ({"overstay": {"most_fen": 10**30}}, "0 to 10000000 fen"),
        ({"no_show": {"least_min": "soon"}}, "cannot be read"),
        ({"flors": {}}, "no field 'flors'"),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(document: object, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_policy(document)


@pytest.mark.parametrize(("minutes", "fen"), [(1, 200), (60, 200), (61, 400), (840, 2800)])
def test_every_hour_begun_is_paid(minutes: int, fen: int) -> None:
    assert Terms().price_fen(minutes) == fen


def test_who_is_eligible() -> None:
    assert Terms().allows("patient")
    assert not Terms(eligible=("resident",)).allows("patient")
    person = Person(id=1, code="u1", role=Role.DRIVER, groups=frozenset({"patient"}))
    assert person.belongs_to("any")
    assert person.belongs_to("patient")
    assert not person.belongs_to("resident")


def test_a_token_is_random_and_only_its_form_has_a_digest() -> None:
    token = new_token()
    assert token != new_token()
    digest = digest_of(token)
    assert digest is not None
    assert len(digest) == 32
    for other in ("", token[:-1], token + "x", "号" * 43, token[:-1] + "!"):
        assert digest_of(other) is None


def test_an_agreement_is_published_only_after_it_is_signed() -> None:
    assert not may_become(AgreementState.NEGOTIATING, AgreementState.PUBLISHED)
    assert may_become(AgreementState.PUBLISHED, AgreementState.SUSPENDED)
    assert not any(may_become(AgreementState.TERMINATED, state) for state in AgreementState)
