"""The verb `export`: image and text encoder for other programs, proved equal to the model."""

from dataclasses import dataclass

from nonet.vision_language.folder_options import ExportOptions


@dataclass(frozen=True, kw_only=True)
class Options(ExportOptions):
    """Write image and text encoder for other programs, check that they give the same numbers, and say how
    large they are.
    """


def run(options: Options) -> int:
    """Export, and print the proof and the bytes."""
    from nonet.vision_language.pair_export import export_pair_model

    done = export_pair_model(
        options.model, options.out, options.format, install="timix[onnx]", overwrite=options.overwrite
    )
    print(f"{done.folder}: {options.format}; largest difference from {options.model}: {done.difference:.3g}")
    print(f"weights: {done.bytes:,} bytes")
    return 0
