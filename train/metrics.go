package train

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/galvani-ml/galvani/internal/inputfile"
	"github.com/galvani-ml/galvani/train/program"
)

// Metrics is what a step reports, one line of the metrics file.
type Metrics struct {
	Step            int             `json:"step"`      // from 1
	Loss            float64         `json:"loss"`      // mean over the batch's targets, in nats
	GradNorm        float64         `json:"grad_norm"` // before clipping
	LR              float64         `json:"lr"`
	Tokens          int64           `json:"tokens"`  // trained on since step 1
	Seconds         float64         `json:"seconds"` // of this step
	TokensPerSecond float64         `json:"tokens_per_second"`
	TFLOPS          float64         `json:"tflops"`        // of all workers, by the model's operation count
	PeakBytes       int64           `json:"peak_bytes"`    // measured, the largest worker
	PlannedBytes    int64           `json:"planned_bytes"` // the largest worker
	Planned         program.Planned `json:"planned"`       // the same by class

	// What exchanges between workers took of this step, in the mean worker; time
	// during which it computed beside them does not count.
	CommunicationSeconds float64 `json:"communication_seconds"` // waiting for collectives and for sends
	WaitSeconds          float64 `json:"wait_seconds"`          // waiting for other pipeline stages
	SentBytes            int64   `json:"sent_bytes"`

	ValLoss *float64 `json:"val_loss,omitempty"`
}

// maxMetricsBytes bounds a metrics file that is continued: some ten million steps.
const maxMetricsBytes = 8 << 30

// metricsFile appends metrics to a JSON Lines file.
type metricsFile struct {
	file *os.File
	w    *bufio.Writer
}

// openMetrics opens the file for the steps after start. A resumed run keeps the
// lines of the steps before and drops those that will be taken again.
func openMetrics(path string, start int) (*metricsFile, error) {
	var kept []byte
	if start > 0 {
		text, err := inputfile.Read(path, maxMetricsBytes)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		kept = stepsUpTo(text, start)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	m := &metricsFile{f, bufio.NewWriter(f)}
	_, err = m.w.Write(kept)
	return m, err
}

// stepsUpTo returns the lines of steps 1 to last.
func stepsUpTo(text []byte, last int) []byte {
	end := 0
	for end < len(text) {
		n := end
		for n < len(text) && text[n] != '\n' {
			n++
		}
		var m Metrics
		if n == len(text) || json.Unmarshal(text[end:n], &m) != nil || m.Step > last {
			break
		}
		end = n + 1
	}
	return text[:end]
}

// write appends one line and hands it to the system, so that another program
// may follow the file.
func (m *metricsFile) write(x Metrics) error {
	line, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("metrics of step %d: %w", x.Step, err)
	}
	if _, err := m.w.Write(append(line, '\n')); err != nil {
		return err
	}
	return m.w.Flush()
}

func (m *metricsFile) close() error {
	if err := m.w.Flush(); err != nil {
		return err
	}
	return m.file.Close()
}
