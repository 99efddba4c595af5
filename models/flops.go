package models

// FLOPsPerToken returns the floating-point operations that the forward and
// backward pass of one token of a sequence of seq tokens take:
// 6N + 12 L C T, after Chowdhery et al.: PaLM (2022), appendix B. N counts the
// weights of the matrices that a token is multiplied with, a tied head's
// included, embeddings that are only looked up, biases and norms not. The
// second term is that of attention, L C being PaLM's L H Q; as there, a causal
// mask does not halve it. Recomputation by activation checkpointing is not
// counted.
func FLOPsPerToken(cfg Config, seq int) float64 {
	attention := 12 * float64(cfg.Layers()) * float64(cfg.Width()) * float64(seq)
	return 6*float64(cfg.matrixParams()) + attention
}
