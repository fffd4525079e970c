// Keys of the facts a study keeps beside its candidates (cop_store_set): written by the search, shown by
// status, report and pick. What is missing is left out there; every other key that a study holds is
// listed under provenance as it stands.

#ifndef COP_SEARCH_FACTS_H
#define COP_SEARCH_FACTS_H

#define COP_FACT_STUDY_NAME      "study.name"       // file name without ".yaml"
#define COP_FACT_STUDY_PATH      "study.path"       // as given
#define COP_FACT_STUDY_HASH      "study.hash"       // of the file's content
#define COP_FACT_SEED            "study.seed"       // unsigned integer
#define COP_FACT_OBJECTIVES      "study.objectives" // "loss,params": names joined by commas
#define COP_FACT_RUNG_TOKENS     "study.rung_tokens" // "500000,2000000": cumulative, of rung 1, 2 …
#define COP_FACT_STATE           "search.state"      // "running", "stopped", "finished", "stable"
#define COP_FACT_TEACHER_PATH    "teacher.path"      // absolute
#define COP_FACT_TEACHER_HASH    "teacher.hash"
#define COP_FACT_TEACHER_PARAMS  "teacher.params" // integer
#define COP_FACT_TEACHER_ARCH    "teacher.arch"   // cop_arch_text()
#define COP_FACT_TRAIN_PATH      "data.train.path"
#define COP_FACT_TRAIN_HASH      "data.train.hash"
#define COP_FACT_VALIDATION_PATH "data.validation.path"
#define COP_FACT_VALIDATION_HASH "data.validation.hash"
// {"size", "invalid", "duplicates", "feasible", "bounds": [{"text", "excluded", "only", "nearest"}]}
#define COP_FACT_SPACE_REPORT "space.report"
#define COP_FACT_VERSION      "program.version"
#define COP_FACT_COMMAND      "program.command" // exact, quoted for a shell
#define COP_FACT_DEVICE       "device"          // e.g. "cpu: AMD EPYC, 2 threads, bf16"
#define COP_FACT_STARTED      "time.started"    // dates; of provenance only
#define COP_FACT_FINISHED     "time.finished"

// Objectives, rungs, budgets and seed are also read from the copy of study.yaml when a fact is absent.

#endif
