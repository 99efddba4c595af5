package comm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
)

// sealing encrypts and authenticates the frames of a connection between hosts:
// AES-128-GCM with keys from the connection's TLS 1.3 handshake, one for each
// direction, and nonces as TLS makes them, a secret and the number of the frame.
// Records of TLS hold 16 KiB and cost a system call and a copy each; a frame is
// one record here, which is half again as fast.
type sealing struct{ out, in direction }

// direction is one way of a connection. Each is used by one goroutine at a time.
type direction struct {
	aead  cipher.AEAD
	iv    [12]byte
	nonce [12]byte
	count uint64
}

const (
	sealKey = 16 // bytes
	sealIV  = 12
)

// newSealing derives the keys of both directions.
func newSealing(state *tls.ConnectionState, client bool) (*sealing, error) {
	secret, err := exportKeys(state, 2*(sealKey+sealIV))
	if err != nil {
		return nil, err
	}
	var s sealing
	first, second := &s.out, &s.in // from client to server, and back
	if !client {
		first, second = second, first
	}
	for _, d := range []*direction{first, second} {
		block, err := aes.NewCipher(secret[:sealKey])
		if err != nil {
			return nil, err
		}
		if d.aead, err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
		copy(d.iv[:], secret[sealKey:])
		secret = secret[sealKey+sealIV:]
	}
	return &s, nil
}

// next returns the nonce of the next frame.
func (d *direction) next() []byte {
	d.nonce = d.iv
	low := d.nonce[sealIV-8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^d.count)
	d.count++
	return d.nonce[:]
}

// overhead is by how much a sealed payload is longer.
func (s *sealing) overhead() int { return s.out.aead.Overhead() }

// seal appends the sealed payload to dst. head is authenticated too.
func (s *sealing) seal(dst, payload, head []byte) []byte {
	return s.out.aead.Seal(dst, s.out.next(), payload, head)
}

// open appends the payload to dst, which may be sealed[:0].
func (s *sealing) open(dst, sealed, head []byte) ([]byte, error) {
	return s.in.aead.Open(dst, s.in.next(), sealed, head)
}
