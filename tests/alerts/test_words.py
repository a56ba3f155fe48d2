from __future__ import annotations

from alerts.escalation import Why
from alerts.rematch import Reason
from models.people import DutyDomain
from models.words import DUTIES, REASONS, Words
from stream.layout import Reason as MatchReason
from tests.alerts.town import city_names


def test_every_reason_that_an_officer_may_be_given_has_words_in_both_languages() -> None:
    codes = {reason.name for reason in MatchReason} | {str(why) for why in Why} | {str(reason) for reason in Reason}
    assert codes - REASONS.keys() == set()
    assert all(words.zh and words.en for words in REASONS.values())


def test_units_and_rules_have_names_in_both_languages_and_unknown_ones_stand_for_themselves() -> None:
    names = city_names()
    assert names.basis("样例责任清单：燃气抢修") == Words(
        "样例责任清单：燃气抢修", "sample list of duties: gas repairs"
    )
    assert (names.basis("别的"), names.unit("nobody")) == (Words("别的", "别的"), Words("nobody", "nobody"))
    unit = names.people.units[0]
    assert names.unit(unit.id) == Words(unit.name, unit.name_en)
    assert REASONS["MAY_SETTLE"].zh


def test_duties_have_names_in_both_languages_and_what_is_unknown_has_none() -> None:
    names = city_names()
    assert DUTIES.keys() == set(DutyDomain)
    assert names.domain("order.vendor") == Words("市容秩序", "Street order")
    assert names.domain("no.such") == Words("", "")
    assert names.duties("micro-01") == ()
    post = next(post for post in names.people.posts if post.id.startswith("exclusive-"))
    assert [words.en for words in names.duties(post.id)] == ["Sanitation", "Street order", "Facilities", "Safety"]
