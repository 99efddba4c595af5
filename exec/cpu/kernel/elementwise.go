package kernel

// chunk is the number of elements a worker claims of an elementwise kernel:
// each element depends on its own operands only, so any division gives the
// same bits.
const chunk = 1 << 14

type unaryTask struct {
	f    func(y, x []float32)
	y, x []float32
}

func (t *unaryTask) run(_, lo, hi int) { t.f(t.y[lo:hi], t.x[lo:hi]) }

func unary(p *Pool, f func(y, x []float32), y, x []float32) {
	t := &p.tasks.unary
	*t = unaryTask{f, y, x[:len(y)]}
	p.run(len(y), chunk, t)
	*t = unaryTask{}
}

type binaryTask struct {
	f       func(y, a, b []float32)
	y, a, b []float32
}

func (t *binaryTask) run(_, lo, hi int) { t.f(t.y[lo:hi], t.a[lo:hi], t.b[lo:hi]) }

func binary(p *Pool, f func(y, a, b []float32), y, a, b []float32) {
	t := &p.tasks.binary
	*t = binaryTask{f, y, a[:len(y)], b[:len(y)]}
	p.run(len(y), chunk, t)
	*t = binaryTask{}
}

type scalarTask struct {
	f    func(y, x []float32, s float32)
	y, x []float32
	s    float32
}

func (t *scalarTask) run(_, lo, hi int) { t.f(t.y[lo:hi], t.x[lo:hi], t.s) }

func scalar(p *Pool, f func(y, x []float32, s float32), y, x []float32, s float32) {
	t := &p.tasks.scalar
	*t = scalarTask{f, y, x[:len(y)], s}
	p.run(len(y), chunk, t)
	*t = scalarTask{}
}

// The elementwise kernels set the whole of y, which may be one of the operands.

// Add sets y = a + b.
func Add(p *Pool, y, a, b []float32) { binary(p, active.Load().add, y, a, b) }

// Mul sets y = a b, element by element.
func Mul(p *Pool, y, a, b []float32) { binary(p, active.Load().mul, y, a, b) }

// Scale sets y = s x.
func Scale(p *Pool, y, x []float32, s float32) { scalar(p, active.Load().scale, y, x, s) }

// Accumulate adds s x to y.
func Accumulate(p *Pool, y, x []float32, s float32) { scalar(p, active.Load().axpy, y, x, s) }

// Exp sets y = exp(x), within 1 ulp; results below 2^-126 may be subnormal,
// and are 0 from exp(-104) on.
func Exp(p *Pool, y, x []float32) { unary(p, active.Load().exp, y, x) }

// Tanh sets y = tanh(x), within 2 ulp.
func Tanh(p *Pool, y, x []float32) { unary(p, active.Load().tanh, y, x) }

// Sigmoid sets y = 1 / (1 + exp(-x)), within 3 ulp.
func Sigmoid(p *Pool, y, x []float32) { unary(p, active.Load().sigmoid, y, x) }

// Erf sets y to the error function of x, within 2 ulp.
func Erf(p *Pool, y, x []float32) { unary(p, active.Load().erf, y, x) }
