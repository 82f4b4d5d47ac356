"""What each column of the tables of results holds: its type, which no row can change, and its meaning."""

from __future__ import annotations

WHOLE, TEXT, REAL, YES_NO = "int64", "string", "float64", "bool"  # as Arrow names them
DTYPES = {WHOLE: "Int64", TEXT: "str", REAL: "float64", YES_NO: "bool"}  # as pandas does

# column -> (type, meaning)
COLUMNS = {
    "suite": (TEXT, "the suite"),
    "suite_version": (WHOLE, "its version"),
    "pair": (TEXT, "the pair, by its name in the suite"),
    "mapping": (TEXT, "the mapping method or control"),
    "track": (TEXT, "corpus, task-aware or control; each is ranked by itself"),
    "kind": (TEXT, "linear, non-linear or control"),
    "origin": (TEXT, "built-in, file or submission"),
    "control": (YES_NO, "whether it is a control"),
    "complete": (YES_NO, "whether every task of the suite was run"),
    "state": (TEXT, "claimed, reproduced, verified or control"),
    "rank": (WHOLE, "within pair and track; null where not ranked"),
    "tied": (YES_NO, "whether it shares its rank"),
    "unranked": (TEXT, "why it is not ranked"),
    "transfer_score": (REAL, "100: the native ceiling, 0: no steering"),
    "ci95_low": (REAL, "lower end of its 95% interval"),
    "ci95_high": (REAL, "upper end of its 95% interval"),
    "steering_r2": (REAL, "1 acts like the native vector, 0 like no steering"),
    "correlation_delta": (REAL, "Pearson correlation of steering effects with the native ones"),
    "fvu": (REAL, "fraction of the target states' variance unexplained, on validation text"),
    "source_model": (TEXT, "source model"),
    "source_layer": (WHOLE, "layer, counted from 1, after whose block its states are read"),
    "source_layers": (TEXT, "all of its layers, as 1+2, where several stand side by side"),
    "source_parameters": (WHOLE, "its parameters"),
    "target_model": (TEXT, "target model"),
    "target_layer": (WHOLE, "layer, counted from 1, at which it is steered"),
    "target_parameters": (WHOLE, "its parameters"),
    "steerable_tasks": (WHOLE, "tasks on which native steering works"),
    "tasks": (WHOLE, "choice tasks in all"),
    "map_parameters": (WHOLE, "numbers that the fit learned"),
    "fit_tokens": (WHOLE, "paired tokens that it was fitted on"),
    "fit_seconds": (REAL, "seconds of the fit alone"),
    "states_seconds": (REAL, "seconds of the forwards that give the states"),
    "peak_memory_bytes": (WHOLE, "peak memory of the process"),
    "created": (TEXT, "when it was computed"),
    "lrt_bench": (TEXT, "version that computed it"),
    "result": (TEXT, "path of the whole record"),
    "task": (TEXT, "the task"),
    "version": (WHOLE, "its version"),
    "concept": (TEXT, "its concept"),
    "prompts": (WHOLE, "prompts scored"),
    "failures": (WHOLE, "prompts that could not be scored"),
    "steerable": (YES_NO, "whether native steering works on it"),
    "ceiling_r2": (REAL, "steering R2 between the native vectors of two halves"),
    "over_steering_r2": (REAL, "steering R2 at the over-steering alphas alone"),
    "correlation": (REAL, "Pearson correlation of propensities, mean over alphas"),
    "concordance": (REAL, "Lin's concordance of effects"),
    "slope": (REAL, "logits for a spread"),
    "slope_ratio": (REAL, "slope over the native one"),
    "anti_steerable": (REAL, "share of prompts moved the wrong way"),
    "cosine": (REAL, "cosine of the vector to the native one"),
    "norm_ratio": (REAL, "its norm over the native one's"),
    "reachable": (REAL, "share of the native vector inside the map's reachable subspace"),
}

TASK_COLUMNS = (
    "task", "version", "concept", "prompts", "failures", "steerable", "ceiling_r2", "steering_r2",
    "over_steering_r2", "correlation", "correlation_delta", "concordance", "slope", "slope_ratio",
    "anti_steerable", "cosine", "norm_ratio", "reachable",
)  # fmt: skip
