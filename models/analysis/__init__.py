"""What a world model sees, predicts and separates: `ipv-bench analyze KIND RUN... --data SHARDS`.

An analysis is one file here and one row in `analyses.py`. The file has

- a config class, a subclass of `config.AnalysisConfig`, with the knobs that the analysis adds (`--set`);
- one function `NAME(request: AnalysisRequest) -> AnalysisRecord`, which the row names. It asks
  `loaded_model.open_models` for the models (any checkpoint of any method that has a video model) and `clips.open_clips`
  for the clips (seeded, held out where the run says what it trained on, frame sizes checked), computes, and hands
  arrays, numbers, verdicts and pictures to `output.AnalysisOutput.finish`. Long computations go through
  `AnalysisOutput.part`, so that an interrupted command goes on where it was.

Pictures here are plain (pillow, no axes): `strips.py`. Axes, curves and labelled grids are drawn by `report` from the
arrays. What is measured stands in `models.metrics`, one place and one name each. Nothing slow is imported by this
package or by `analyses.py`: the command's `--help` reads both.
"""
