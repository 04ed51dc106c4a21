"""Which device to work on outside training, where Lightning chooses. Source: ours."""

from nonet.errors import UserError


def pick_device(name: str = "auto") -> str:
    """The device to run on: `auto` is the first GPU, else the CPU.

    Raises:
        UserError: the name is no device, or this machine does not have it.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device {name!r} cannot be used here: {reason[:150]}") from error
    return name
