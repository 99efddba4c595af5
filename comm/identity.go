package comm

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"
)

// identity is a key for one transport, and a certificate of it. Ranks know each
// other by the certificates' hashes, which they exchange over NATS.
type identity struct {
	certificate tls.Certificate
	print       []byte // SHA-256 of the certificate
}

func newIdentity() (*identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	return &identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, printOf(der)}, nil
}

func printOf(der []byte) []byte {
	sum := sha256.Sum256(der)
	return sum[:]
}

// config is that of a connection with a peer whose certificate is admitted.
func (i *identity) config(admitted func(print []byte) bool) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{i.certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // no authority signs these: VerifyConnection knows them
		SessionTicketsDisabled: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			if len(c.PeerCertificates) == 0 || !admitted(printOf(c.PeerCertificates[0].Raw)) {
				return errors.New("the certificate is not that of a rank of this job")
			}
			return nil
		},
	}
}

// accept answers a call: it returns the keys for what follows, and whose
// certificate it was.
func (i *identity) accept(conn *net.TCPConn, admitted func(print []byte) bool) (*sealing, []byte, error) {
	c := tls.Server(&recordConn{TCPConn: conn}, i.config(admitted))
	if err := c.Handshake(); err != nil {
		return nil, nil, err
	}
	if err := confirm(c); err != nil {
		return nil, nil, err
	}
	state := c.ConnectionState()
	keys, err := newSealing(&state, false)
	return keys, printOf(state.PeerCertificates[0].Raw), err
}

// call greets the rank with the given certificate.
func (i *identity) call(conn *net.TCPConn, print []byte) (*sealing, error) {
	c := tls.Client(&recordConn{TCPConn: conn}, i.config(func(p []byte) bool { return bytes.Equal(p, print) }))
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	if err := confirm(c); err != nil {
		return nil, err
	}
	state := c.ConnectionState()
	return newSealing(&state, true)
}

// confirm tells the peer that its certificate is admitted, and hears the same.
// No TLS record follows.
func confirm(c *tls.Conn) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// recordConn reads no further than the end of the TLS record that is asked for:
// what follows the last record is not TLS's.
type recordConn struct {
	*net.TCPConn
	pending bytes.Buffer // the header of a record that was read
	left    int          // of the record's bytes in the connection
}

// Read implements net.Conn.
func (c *recordConn) Read(p []byte) (int, error) {
	if c.left == 0 && c.pending.Len() == 0 {
		var head [5]byte
		if _, err := io.ReadFull(c.TCPConn, head[:]); err != nil {
			return 0, err
		}
		c.pending.Write(head[:])
		c.left = int(binary.BigEndian.Uint16(head[3:]))
	}
	if c.pending.Len() > 0 {
		return c.pending.Read(p)
	}
	n, err := c.TCPConn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// exporterLabel names the secrets that frames are sealed with (RFC 8446,
// section 7.5).
const exporterLabel = "EXPORTER-galvani-frames-1"

// exportKeys derives n bytes of secrets from a connection.
func exportKeys(state *tls.ConnectionState, n int) ([]byte, error) {
	secret, err := state.ExportKeyingMaterial(exporterLabel, nil, n)
	if err != nil {
		return nil, fmt.Errorf("deriving keys: %w", err)
	}
	return secret, nil
}
