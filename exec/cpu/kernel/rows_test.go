package kernel

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// normStatistics is a row's mean (zero for RMS norm) and 1/deviation.
func normStatistics(x []float32, eps float64, rms bool) (mean, rstd float64) {
	n := float64(len(x))
	for _, v := range x {
		mean += float64(v) / n
	}
	if rms {
		mean = 0
	}
	var squares float64
	for _, v := range x {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, 1 / math.Sqrt(squares/n+eps)
}

// plainNormGrad is the gradient of layer norm or RMS norm.
func plainNormGrad(dy, x, gamma []float32, rows, cols int, eps float64, rms bool) (dx, dgamma, dbeta []float64) {
	dx, dgamma, dbeta = make([]float64, rows*cols), make([]float64, cols), make([]float64, cols)
	for r := range rows {
		row := x[r*cols:][:cols]
		mean, rstd := normStatistics(row, eps, rms)
		var m1, m2 float64
		for j, v := range row {
			d, xhat := float64(dy[r*cols+j]), (float64(v)-mean)*rstd
			dgamma[j] += d * xhat
			dbeta[j] += d
			m1 += d * float64(gamma[j]) / float64(cols)
			m2 += d * float64(gamma[j]) * xhat / float64(cols)
		}
		if rms {
			m1 = 0
		}
		for j, v := range row {
			dx[r*cols+j] = rstd * (float64(dy[r*cols+j])*float64(gamma[j]) - m1 - (float64(v)-mean)*rstd*m2)
		}
	}
	return dx, dgamma, dbeta
}

func TestNorm(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		x := random(t)
		rows, cols := size(97).Draw(t, "rows"), size(300).Draw(t, "cols")
		rms, withBeta, accumulate := rapid.Bool().Draw(t, "rms"), rapid.Bool().Draw(t, "beta"), rapid.Bool().Draw(t, "accumulate")
		in, dy, gamma, sum0 := x(rows*cols), x(rows*cols), x(cols), x(cols)
		for i := range in { // a mean, so that it must be taken away
			in[i] += 2
		}
		var beta []float32
		if withBeta && !rms {
			beta = x(cols)
		}
		const eps = 1e-2 // so that a row of one element has a gradient
		run := func(p *Pool) [][]float32 {
			y, mean, rstd := x(rows*cols), make([]float32, rows), x(rows)
			dx, dgamma := x(rows*cols), slices.Clone(sum0)
			var dbeta []float32
			if beta != nil {
				dbeta = slices.Clone(sum0)
			}
			if rms {
				RMSNorm(p, y, rstd, in, gamma, rows, cols, eps)
				RMSNormGrad(p, dx, dgamma, dy, in, gamma, rstd, rows, cols, accumulate)
			} else {
				LayerNorm(p, y, mean, rstd, in, gamma, beta, rows, cols, eps)
				LayerNormGrad(p, dx, dgamma, dbeta, dy, in, gamma, mean, rstd, rows, cols, accumulate)
			}
			return [][]float32{y, mean, rstd, dx, dgamma, dbeta}
		}
		return run, func(t *rapid.T, got [][]float32) {
			want := make([]float64, rows*cols)
			means, rstds := make([]float64, rows), make([]float64, rows)
			for r := range rows {
				row := in[r*cols:][:cols]
				means[r], rstds[r] = normStatistics(row, eps, rms)
				for j, v := range row {
					want[r*cols+j] = (float64(v) - means[r]) * rstds[r] * float64(gamma[j])
					if beta != nil {
						want[r*cols+j] += float64(beta[j])
					}
				}
			}
			near(t, "y", got[0], want, 2e-5, 1)
			near(t, "mean", got[1], means, 1e-6, 1)
			near(t, "rstd", got[2], rstds, 2e-5, 1)
			dx, dgamma, dbeta := plainNormGrad(dy, in, gamma, rows, cols, eps, rms)
			for j := range dgamma {
				if accumulate {
					dgamma[j] += float64(sum0[j])
					dbeta[j] += float64(sum0[j])
				}
			}
			near(t, "dx", got[3], dx, 1e-4, 1)
			near(t, "dgamma", got[4], dgamma, 2e-5, math.Sqrt(float64(rows)))
			if beta != nil {
				near(t, "dbeta", got[5], dbeta, 2e-6, math.Sqrt(float64(rows)))
			}
		}
	})
}

func TestCrossEntropy(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		x := random(t)
		rows, cols := size(64).Draw(t, "rows"), size(300).Draw(t, "cols")
		if rapid.IntRange(0, 9).Draw(t, "several blocks of logits") == 7 {
			rows, cols = rapid.IntRange(1, 3).Draw(t, "few"), rapid.IntRange(4090, 9000).Draw(t, "wide")
		}
		ld := cols + rapid.IntRange(0, 3).Draw(t, "pad")
		logits := x(rows * ld)
		late := rapid.SampledFrom([]float32{0, 40, -40}).Draw(t, "late") // a later block has far larger ones
		for i := range logits {
			logits[i] *= 5
			if i%ld >= 4096 {
				logits[i] += late
			}
		}
		targets := make([]int32, rows)
		for r := range targets {
			targets[r] = int32(rapid.IntRange(-1, cols-1).Draw(t, "target"))
			if targets[r] < 0 {
				targets[r] = IgnoreIndex
			}
		}
		const scale = 0.125
		inPlace := rapid.Bool().Draw(t, "inPlace")
		division := rapid.SampledFrom(divisors(cols)).Draw(t, "parts of the vocabulary")
		var losses []float64
		run := func(p *Pool) [][]float32 {
			lse, from, d := make([]float32, rows), slices.Clone(logits), x(rows*ld)
			losses = append(losses, CrossEntropy(p, lse, from, targets, cols, ld, scale))
			if inPlace {
				d = from
			}
			CrossEntropyGrad(p, d, from, lse, targets, WholeVocabulary(cols), ld, scale)
			joined, whole, loss := inParts(p, logits, targets, cols, ld, division, scale)
			losses = append(losses, loss)
			return [][]float32{lse, d, joined, whole}
		}
		return run, func(t *rapid.T, got [][]float32) {
			lse, d, loss := make([]float64, rows), make([]float64, rows*ld), 0.0
			for r, target := range targets {
				row := logits[r*ld:][:cols]
				most, sum := float64(slices.Max(row)), 0.0
				for _, v := range row {
					sum += math.Exp(float64(v) - most)
				}
				lse[r] = most + math.Log(sum)
				if target == IgnoreIndex {
					continue
				}
				loss += (lse[r] - float64(row[target])) * scale
				for j, v := range row {
					d[r*ld+j] = math.Exp(float64(v)-lse[r]) * scale
				}
				d[r*ld+int(target)] -= scale
			}
			near(t, "lse", got[0], lse, 5e-7, 1)
			near(t, "d", got[1], d, 5e-6, scale)
			near(t, "lse of parts", got[2], lse, 1e-6, 1)
			near(t, "d of parts", got[3], d, 1e-5, scale)
			for i, l := range losses {
				if l != losses[i%2] || math.Abs(l-loss) > 1e-6*max(1, loss) {
					t.Fatalf("losses, whole and in parts, with 1 and 3 threads: %v, want %g", losses, loss)
				}
			}
		}
	})
}

func divisors(n int) []int {
	var all []int
	for d := 1; d <= n; d++ {
		if n%d == 0 {
			all = append(all, d)
		}
	}
	return all
}

// inParts divides a vocabulary and computes the denominators, the gradient as a
// whole, and the sum of the losses.
func inParts(p *Pool, logits []float32, targets []int32, cols, ld, parts int, scale float64) (lse, d []float32, loss float64) {
	rows, size := len(targets), cols/parts
	pieces, partial := make([][]float32, parts), make([]float32, parts*rows)
	for k := range parts {
		pieces[k] = make([]float32, rows*size)
		for r := range rows {
			copy(pieces[k][r*size:][:size], logits[r*ld+k*size:])
		}
		LogSumExp(p, partial[k*rows:][:rows], pieces[k], size, size)
	}
	lse, d = make([]float32, rows), make([]float32, rows*ld)
	JoinLogSumExp(lse, partial)
	for k, x := range pieces {
		v := Vocabulary{First: k * size, Size: size, Whole: cols}
		loss += CrossEntropyOf(lse, x, targets, v, size, scale)
		CrossEntropyGrad(p, x, x, lse, targets, v, size, float32(scale))
		for r := range rows {
			copy(d[r*ld+k*size:][:size], x[r*size:])
		}
	}
	return lse, d, loss
}

func TestIndicesOutOfRange(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	logits, lse, d := make([]float32, 6), make([]float32, 2), make([]float32, 6)
	targets := []int32{3, 1}
	if loss := CrossEntropy(p, lse, logits, targets, 3, 3, 1); !math.IsNaN(loss) {
		t.Errorf("loss of a target out of range is %g, want NaN", loss)
	}
	CrossEntropyGrad(p, d, logits, lse, targets, WholeVocabulary(3), 3, 1)
	if d[0] == d[0] || d[3] != d[3] {
		t.Errorf("gradient is %g, want NaN in the first row alone", d)
	}
	y := make([]float32, 4)
	Embedding(p, y, []float32{1, 2, 3, 4}, []int32{-1, 1}, WholeVocabulary(2), 2)
	if y[0] == y[0] || y[2] != 3 {
		t.Errorf("rows of ids -1 and 1 are %g, want NaN and 3, 4", y)
	}
	EmbeddingGrad(p, y, []float32{5, 6, 7, 8}, []int32{2, 1}, WholeVocabulary(2), 2, false)
	if !slices.Equal(y, []float32{0, 0, 7, 8}) {
		t.Errorf("gradient is %g, want 7, 8 in row 1 alone", y)
	}
}

func TestColumnsAndEmbedding(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		x := random(t)
		batch, tokens, cols := rapid.IntRange(1, 4).Draw(t, "batch"), size(130).Draw(t, "tokens"), size(131).Draw(t, "cols")
		vocab, accumulate := size(20).Draw(t, "vocab"), rapid.Bool().Draw(t, "accumulate")
		part := Vocabulary{First: rapid.IntRange(0, 2).Draw(t, "first") * vocab, Size: vocab, Whole: 3 * vocab}
		rows := batch * tokens
		in, pos, bias, table := x(rows*cols), x(tokens*cols), x(cols), x(vocab*cols)
		ids := make([]int32, rows)
		for i := range ids {
			ids[i] = int32(rapid.IntRange(0, part.Whole-1).Draw(t, "id"))
		}
		run := func(p *Pool) [][]float32 {
			biased, placed, rowsOf := x(rows*cols), x(rows*cols), x(rows*cols)
			dbias, dpos, dtable := slices.Clone(bias), slices.Clone(pos), slices.Clone(table)
			BiasAdd(p, biased, in, bias, rows, cols)
			PositionAdd(p, placed, in, pos, batch, tokens, cols)
			Embedding(p, rowsOf, table, ids, part, cols)
			ColumnSum(p, dbias, in, rows, cols, cols, accumulate)
			PositionGrad(p, dpos, in, batch, tokens, cols, accumulate)
			EmbeddingGrad(p, dtable, in, ids, part, cols, accumulate)
			return [][]float32{biased, placed, rowsOf, dbias, dpos, dtable}
		}
		return run, func(t *rapid.T, got [][]float32) {
			biased, placed, rowsOf := make([]float64, rows*cols), make([]float64, rows*cols), make([]float64, rows*cols)
			dbias, dpos, dtable := make([]float64, cols), make([]float64, tokens*cols), make([]float64, vocab*cols)
			if accumulate {
				dbias, dpos, dtable = doubles(bias), doubles(pos), doubles(table)
			}
			for i, v := range in {
				r, j := i/cols, i%cols
				biased[i] = float64(v) + float64(bias[j])
				placed[i] = float64(v) + float64(pos[r%tokens*cols+j])
				dbias[j] += float64(v)
				dpos[r%tokens*cols+j] += float64(v)
				if row := int(ids[r]) - part.First; 0 <= row && row < vocab {
					rowsOf[i] = float64(table[row*cols+j])
					dtable[row*cols+j] += float64(v)
				}
			}
			for i, want := range [][]float64{biased, placed, rowsOf, dbias, dpos, dtable} {
				near(t, []string{"biased", "placed", "rows", "dbias", "dpos", "dtable"}[i], got[i], want, 2e-6, math.Sqrt(float64(rows)))
			}
		}
	})
}
