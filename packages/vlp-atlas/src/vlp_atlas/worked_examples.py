"""Runs the worked example of an objective or a metric and says what came out (ours)."""

from nonet.errors import UserError
from vlp_atlas.tables import bold


def print_example(name: str, *, colour: bool = False) -> bool:
    """Compute a worked example and print it; the result is whether it gives the expected number.

    Raises:
        UserError: the example needs something that is not installed.
    """
    try:
        from vlp_atlas.oracles import oracle

        example = oracle(name)
        value = example.run()
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("nonet", "vlp_atlas"):
            raise
        raise UserError(
            f"the worked example needs {error.name}: pip install 'vlp-atlas[objectives]'"
        ) from None
    passed = abs(value - example.expected) <= example.tolerance
    print()
    print(bold(f"worked example {name}", colour=colour))
    print(f"  {example.what}")
    print(f"  computed {value:.10g}")
    print(f"  expected {example.expected:.10g} within {example.tolerance:g}: {'yes' if passed else 'NO'}")
    return passed
