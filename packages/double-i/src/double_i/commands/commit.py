"""The public commitment to the keys of a file."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the commitment that is to be published, and time-stamped, before the model is released.

    It holds a SHA-256 digest of each key and tells nothing about it.
    """

    key: Path
    """key file"""
    out: Path
    """commitment file; it must not exist"""
    passphrase_file: Path | None = None
    """file whose first line opens an encrypted key file (or the variable DOUBLE_I_PASSPHRASE)"""

    def __post_init__(self) -> None:
        from double_i.key_files import refuse_inline

        refuse_inline(self.key)


def run(options: Options) -> int:
    """Read, digest, write."""
    from double_i.commitments import dump
    from double_i.key_files import read_keys, read_passphrase
    from nonet.errors import UserError
    from nonet.files import write_text

    keys = read_keys(options.key, read_passphrase(options.passphrase_file))
    if options.out.exists():
        raise UserError(
            f"{options.out}: exists; an old commitment is worth more than a new one, so give another name"
        )
    text = dump(keys)
    write_text(options.out, text)
    print(text, end="")
    return 0
