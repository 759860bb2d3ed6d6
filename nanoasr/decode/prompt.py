"""The words that the LLM reads around the audio, exactly as FunASR writes them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..checkpoint.tokenizer import Tokenizer
from ..errors import OptionError
from ..results.words import one_line

_MOST_HOTWORDS, _LONGEST_HOTWORD, _HOTWORD_CHARACTERS = 500, 200, 10_000


@dataclass(frozen=True)
class Language:
    """A language that a checkpoint may know: its ISO 639-1 code, English name, and name in prompts."""

    code: str
    name: str
    prompt: str


_ALL = (
    "zh Chinese 中文, en English 英文, yue Cantonese 粤语, ja Japanese 日文, ko Korean 韩文, vi Vietnamese 越南语, "
    "id Indonesian 印尼语, th Thai 泰语, ms Malay 马来语, tl Filipino 菲律宾语, ar Arabic 阿拉伯语, hi Hindi 印地语, "
    "bg Bulgarian 保加利亚语, hr Croatian 克罗地亚语, cs Czech 捷克语, da Danish 丹麦语, nl Dutch 荷兰语, "
    "et Estonian 爱沙尼亚语, fi Finnish 芬兰语, el Greek 希腊语, hu Hungarian 匈牙利语, ga Irish 爱尔兰语, "
    "lv Latvian 拉脱维亚语, lt Lithuanian 立陶宛语, mt Maltese 马耳他语, pl Polish 波兰语, pt Portuguese 葡萄牙语, "
    "ro Romanian 罗马尼亚语, sk Slovak 斯洛伐克语, sl Slovenian 斯洛文尼亚语, sv Swedish 瑞典语"
)
LANGUAGES = tuple(Language(*entry.split()) for entry in _ALL.split(", "))
NANO_LANGUAGES = tuple(language for language in LANGUAGES if language.code in ("zh", "en", "ja"))
_OTHER_CODES = {"cmn": "zh", "eng": "en", "jpn": "ja", "jp": "ja", "kor": "ko", "fil": "tl", "zh-yue": "yue"}


@dataclass(frozen=True)
class Prompt:
    """The ids before and after the audio."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


def build_prompt(
    tokenizer: Tokenizer, language: Language | None = None, hotwords: Sequence[str] = (), itn: bool = True
) -> Prompt:
    """Build the prompt for one recording. `itn`: whether numbers and dates are written in figures."""
    before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    after = "<|im_end|>\n<|im_start|>assistant\n"
    prefix = tokenizer.encode(before + instruction(language, hotwords, itn))
    return Prompt(tuple(prefix), tuple(tokenizer.encode(after)))


def instruction(language: Language | None = None, hotwords: Sequence[str] = (), itn: bool = True) -> str:
    """Return what the user of the chat says before the audio."""
    text = ""
    if hotwords:
        text = (
            "请结合上下文信息，更加准确地完成语音转写任务。如果没有相关信息，我们会留空。\n\n\n**上下文信息：**\n\n\n"
            f"热词列表：[{', '.join(hotwords)}]\n"
        )
    text += f"语音转写成{language.prompt}" if language else "语音转写"
    return text + ("：" if itn else "，不进行文本规整：")


def find_language(wish: str | None, known: Sequence[Language] = LANGUAGES) -> Language | None:
    """Look up a language by code (`en`, `zh-CN`), English name or prompt name; None and "auto" let the model detect it.

    OptionError lists what the checkpoint knows.
    """
    if not isinstance(wish, str | None):
        raise OptionError(f'language={wish!r:.80}: give a code such as "en", a name, or None for the model to tell')
    if wish is None or wish.strip().lower() in ("", "auto"):
        return None
    name = wish.strip().lower().replace("_", "-")
    code = _OTHER_CODES.get(name, _OTHER_CODES.get(name.partition("-")[0], name.partition("-")[0]))
    for language in known:
        if name in (language.name.lower(), language.prompt) or code == language.code:
            return language
    listed = ", ".join(f"{language.code} ({language.name})" for language in known)
    raise OptionError(f"language {wish!r} is not one this checkpoint knows: {listed}; leave it out to detect it")


def split_hotwords(text: str | None) -> list[str]:
    """Split a text at commas, of either width, and at line ends."""
    return [word.strip() for word in re.split(r"[,，\r\n]", text or "") if word.strip()]


def clean_hotwords(hotwords: Sequence[str] | None) -> tuple[str, ...]:
    """Hotwords without blanks and repeats; OptionError for what would break out of the prompt's list."""
    if isinstance(hotwords, str | bytes) or not isinstance(hotwords, Iterable | None):
        raise OptionError(f'hotwords={hotwords!r:.80}: give a list of words, such as ["MLX", "Qwen3"]')
    given = list(hotwords or ())
    for word in given:
        if not isinstance(word, str):
            raise OptionError(f"hotwords has {word!r:.80} in it, which is no text: give words")
    words = tuple(dict.fromkeys(word for word in map(one_line, given) if word))
    if any("\ud800" <= char <= "\udfff" for word in words for char in word):
        raise OptionError(f"hotwords={given!r:.80}: a lone surrogate is no character; decode the text as UTF-8")
    if any("<|" in word for word in words):
        raise OptionError("hotwords must not hold special tokens (<|…|>)")
    for found, most, what in (
        (len(words), _MOST_HOTWORDS, "hotwords"),
        (max(map(len, words), default=0), _LONGEST_HOTWORD, "characters in a hotword"),
        (sum(map(len, words)), _HOTWORD_CHARACTERS, "characters in all hotwords together"),
    ):
        if found > most:
            raise OptionError(f"{found} {what}: at most {most}, since the prompt has to fit the model")
    return words
