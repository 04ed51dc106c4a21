"""The verb `prepare`: pairs and regions are checked, thinned and packed; captions give a tokenizer."""

from dataclasses import dataclass

from nonet.vision_language.prepare_options import PrepareOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrepareOptions):
    """Check images and captions, leave out what cannot be used, and write the rest as JSON lines or tar
    shards; learn a tokenizer. `regions build` and `regions check` are for regions alone."""


def run(options: Options) -> int:
    """Read, check and write; the account is printed and is in prepare.json."""
    from nonet.vision_language.preparing import prepare_data

    prepare_data(options)
    return 0
