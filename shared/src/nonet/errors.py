"""What goes wrong on the user's side, said in one line: what, where, what to do."""

import errno
import importlib
from types import ModuleType


class UserError(ValueError):
    """Something the user can mend. Commands print it as one line and exit with code 2."""


class RunFailed(RuntimeError):
    """A run that cannot go on, as a loss is not finite. Commands print one line and exit with code 1."""


OF_FILES = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC,
    errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip
"""numbers of the errors of files and folders that say all there is to say"""


def is_mistake(error: BaseException) -> bool:
    """Whether an error is the user's to mend: a UserError, or of a file that cannot be read or written."""
    return isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in OF_FILES)


def needs(module: str, *, to: str, install: str) -> ModuleType:
    """Import an optional dependency, or say how to get it.

    Args:
        module: the module's import name, such as `"pyarrow.parquet"`.
        to: what it is needed for, such as `"read Parquet files"`.
        install: the requirement that brings it, such as `"nonet[text]"`.

    Returns:
        The imported module.

    Raises:
        UserError: the module is not installed; the text names `to` and the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the module is there, and something inside it is broken
        raise UserError(f"to {to}, install {error.name}: pip install '{install}'") from error
