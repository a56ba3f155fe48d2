from __future__ import annotations

from alerts.escalation import Why
from alerts.rematch import Reason
from alerts.words import REASONS
from stream.layout import Reason as MatchReason


def test_every_reason_that_an_officer_may_be_given_has_words_in_both_languages() -> None:
    codes = {reason.name for reason in MatchReason} | {str(why) for why in Why} | {str(reason) for reason in Reason}
    assert codes - REASONS.keys() == set()
    assert all(words.zh and words.en for words in REASONS.values())
