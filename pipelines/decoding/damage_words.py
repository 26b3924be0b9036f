"""What the decoders' messages mean: the table that is asked after all facts (flags, counts, the container's structure).

An error of the video's own decoder means damage unless it is listed as harmless; a message of the container's reader
means damage only when it is listed, since the container's structure is checked by `pipelines.decoding.containers`.
Messages of other streams' decoders (sound, subtitles) never matter.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from pipelines.decoding.decoder_log import Message

Meaning = Literal["harmless", "start", "truncated", "corrupt"]
"""`start`: harmless before the first frame, as in a recording that begins between two key frames; damage after it."""


class Words(NamedTuple):
    """One kind of message.

    Attributes:
        who: pattern of the component, matched whole; `READER` stands for any container's reader.
        text: pattern that is searched in the text.
        meaning: see `Meaning`.
        why: one line for people.
    """

    who: str
    text: str
    meaning: Meaning
    why: str


READER = "reader"

TABLE: tuple[Words, ...] = (
    Words("h264", r"mmco: unref short failure", "harmless", "bookkeeping of pictures before a lossless cut"),
    Words("h264", r"number of reference frames .* exceeds max", "harmless", "as above; the oldest picture is let go"),
    Words("h264|hevc", r"SEI type \d+ size \d+ truncated|[Ii]nvalid SEI|sei", "harmless", "captions, not pictures"),
    Words("h264|hevc", r"VUI|[Aa]spect ratio|timing_info|num_units_in_tick", "harmless", "display hints"),
    Words(r".*", r"(?i)exif|TIFF|\bICC\b|iCCP|XMP", "harmless", "metadata beside the picture"),
    Words("h264", r"non-existing [SP]PS|no frame!|decode_slice_header error", "start", "begins between key frames"),
    Words("h264", r"reference picture missing|Missing reference picture", "start", "begins between key frames"),
    Words("h264", r"co located POCs unavailable|illegal short term buffer", "start", "begins between key frames"),
    Words("hevc", r"[SPV]PS id out of range|[SPV]PS \d+ does not exist", "start", "begins between key frames"),
    Words("hevc", r"Could not find ref with POC|constructing the frame RPS", "start", "begins between key frames"),
    Words("mpeg[12]video", r"Invalid frame dimensions 0x0", "start", "begins between key frames"),
    Words("mpeg4", r"first frame is no keyframe", "harmless", "begins between key frames"),
    Words(r"asf(_o)?", r".", "corrupt", "its reader says nothing of whole files"),
    Words(READER, r"ended prematurely|partial file", "truncated", "the reader met the end inside an element"),
    Words(READER, r"invalid as first byte of an EBML number|exceeds containing master", "corrupt", "structure broken"),
    Words(READER, r"(?i)CRC mismatch|checksum mismatch|error count|Invalid NAL unit", "corrupt", "a check failed"),
)
"""The first row that fits decides."""


def meaning_of(message: Message, decoder: str, first_frame_seen: bool) -> Meaning:
    """What a message says about the video.

    Args:
        decoder: name of the video's own decoder.
        first_frame_seen: whether a frame came out already.
    """
    is_decoder = message.component == decoder
    for words in TABLE:
        fits = not is_decoder if words.who == READER else bool(re.fullmatch(words.who, message.component))
        if fits and re.search(words.text, message.text):
            if words.meaning == "start":
                return "corrupt" if first_frame_seen else "start"
            return words.meaning
    return "corrupt" if is_decoder else "harmless"
