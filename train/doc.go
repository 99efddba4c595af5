// Package train runs training jobs.
//
// [Run] is the coordinator of a job: it prepares data, model and plan, starts
// a NATS server (or uses an external one) and the worker processes, watches
// them, and reports. [Work] is one worker: it builds its stage of the model,
// compiles it, and takes steps by the pipeline schedule until the job is done.
// What a worker needs to know travels in a [Spec]; what it has to say travels
// in events.
//
// A checkpoint is a Hugging Face directory (config.json, model.safetensors,
// tokenizer.json) with the optimizer's state and a manifest beside it, so other
// programs read it as it is. It does not depend on the plan: a job resumes
// under any other.
//
// A [Trial] is a run that is measured: its workers train as any others, but
// neither evaluate nor save.
//
// One step of one worker can be recorded, with all that it receives from
// others; [Replay] takes it again in this process, and compares the bits.
//
// [Evaluate] and [Generate] run a checkpoint in this process.
package train
