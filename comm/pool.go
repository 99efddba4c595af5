package comm

import (
	"math/bits"
	"sync"
)

// frame is a reusable buffer: headerSize bytes, then the payload.
type frame struct {
	header header // of a frame that waits in an outbox
	buf    []byte
	class  int
}

// framePools holds free frames by capacity: class k has room for a payload of
// 1<<k bytes.
var framePools [64]sync.Pool

// newFrame returns a frame for n bytes of payload. Its contents are undefined.
func newFrame(n int) *frame {
	class := bits.Len(uint(max(n, 512) - 1))
	f, ok := framePools[class].Get().(*frame)
	if !ok {
		f = &frame{buf: make([]byte, headerSize+1<<class), class: class}
	}
	f.buf = f.buf[:headerSize+n]
	return f
}

func (f *frame) payload() []byte { return f.buf[headerSize:] }

// free gives the frame back. The caller must not use it any more.
func (f *frame) free() { framePools[f.class].Put(f) }
