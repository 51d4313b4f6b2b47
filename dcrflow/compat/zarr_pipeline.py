"""zarr's codec pipeline that decodes all chunks of a shard in one go.

Why
    By default zarr starts a task of its event loop for each chunk, which takes half as long again. The fused pipeline
    is chosen by zarr's public setting ``codec_pipeline.path``, but its class has no public address, and whether this
    zarr has it can only be seen in a private module.
Public ways tried
    - ``zarr.registry`` lists only pipelines that are registered, and the fused one registers when it is imported.
    - zarrs (another pipeline) takes two thirds of the time, but 0.2.3 checks no checksum when it reads part of a shard.
Versions
    zarr 3.2.0 (has none) to 3.4.2.
Remove when
    the fused pipeline is zarr's default, or is exported under a public name.
"""

from __future__ import annotations

from zarr.core import codec_pipeline


def fused_pipeline() -> str | None:
    """The address of the fused pipeline, for zarr's setting ``codec_pipeline.path``; None where zarr has none."""
    if not hasattr(codec_pipeline, "FusedCodecPipeline"):
        return None
    return f"{codec_pipeline.__name__}.FusedCodecPipeline"
