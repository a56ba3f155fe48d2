"""Names for a city that does not exist: plainly made up, in Chinese and in Latin letters."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator


def _pairs(words: str) -> tuple[tuple[str, str], ...]:
    parts = words.split()
    return tuple(zip(parts[::2], parts[1::2], strict=True))


SURNAMES = _pairs(
    "赵 Zhao 钱 Qian 孙 Sun 李 Li 周 Zhou 吴 Wu 郑 Zheng 王 Wang 冯 Feng 陈 Chen 蒋 Jiang "
    "沈 Shen 韩 Han 杨 Yang 朱 Zhu 秦 Qin 许 Xu 何 He 吕 Lyu 张 Zhang 曹 Cao 严 Yan 金 Jin "
    "魏 Wei"
)
SYLLABLES = _pairs(
    "安 an 博 bo 晨 chen 丹 dan 恩 en 芳 fang 国 guo 海 hai 佳 jia 凯 kai 兰 lan 敏 min "
    "宁 ning 培 pei 琪 qi 荣 rong 思 si 涛 tao 文 wen 晓 xiao 雅 ya 泽 ze 志 zhi 春 chun 德 de "
    "林 lin 明 ming 清 qing 山 shan 云 yun"
)
SHOPS = (
    ("面馆", "Noodle House"),
    ("便利店", "Corner Shop"),
    ("药店", "Pharmacy"),
    ("五金店", "Hardware Store"),
    ("理发店", "Barber"),
    ("水果店", "Fruit Shop"),
    ("火锅店", "Hotpot Restaurant"),
    ("文具店", "Stationer"),
)
DIGITS = "零一二三四五六七八九"


def numeral(number: int) -> str:
    """Write 1 to 99 in Chinese numerals; larger numbers stay in digits."""
    if number > 99:
        return str(number)
    tens, ones = divmod(number, 10)
    head = {0: "", 1: "十"}.get(tens, DIGITS[tens] + "十")
    return head + (DIGITS[ones] if ones or not tens else "")


def person_names(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield names with their pinyin for ever; the first 21,600 are all different."""
    kinds = len(SYLLABLES)
    total = len(SURNAMES) * kinds * kinds
    start, step = rng.randrange(total), 7_919  # a prime that does not divide the total: every name comes up once
    for index in itertools.count():
        n = (start + index * step) % total
        yield _person_name(n // (kinds * kinds), n // kinds % kinds, n % kinds)


def _person_name(surname: int, first: int, second: int) -> tuple[str, str]:
    (family, family_en), (one, one_en), (two, two_en) = SURNAMES[surname], SYLLABLES[first], SYLLABLES[second]
    # An apostrophe keeps syllables apart, as pinyin wants before a vowel.
    joint = "'" if two_en[0] in "aeo" else ""
    return family + one + two, f"{family_en} {one_en.capitalize()}{joint}{two_en}"
