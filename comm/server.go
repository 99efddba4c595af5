package comm

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// MaxPayload is the largest message in bytes that an embedded server takes.
// nats-server warns above it.
const MaxPayload = 8 << 20

// ServerOptions tunes an embedded server. The zero value is good.
type ServerOptions struct {
	Logger *slog.Logger // nil: silent
}

// Server is a NATS server inside this process, for one job. It listens on a
// random port of the loopback interface and admits one random user, whose seed
// exists only in memory.
type Server struct {
	nats *server.Server
	seed string
}

// Start starts a server and waits until it takes connections.
func Start(o ServerOptions) (*Server, error) {
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("comm: creating a key for the embedded NATS server: %w", err)
	}
	public, err := user.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("comm: creating a key for the embedded NATS server: %w", err)
	}
	seed, err := user.Seed()
	if err != nil {
		return nil, fmt.Errorf("comm: creating a key for the embedded NATS server: %w", err)
	}
	ns, err := server.NewServer(&server.Options{
		ServerName:      "galvani",
		Host:            "127.0.0.1",
		Port:            server.RANDOM_PORT,
		Nkeys:           []*server.NkeyUser{{Nkey: public}},
		MaxPayload:      MaxPayload,
		MaxPending:      128 << 20, // four times what credits allow on the way to one rank
		NoSigs:          true,
		NoLog:           true,
		NoSystemAccount: true,
	})
	if err != nil {
		return nil, fmt.Errorf("comm: embedded NATS server: %w", err)
	}
	if o.Logger != nil {
		ns.SetLogger(natsLog{o.Logger}, false, false)
	}
	ns.Start()
	s := &Server{nats: ns, seed: string(seed)}
	if !ns.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, fmt.Errorf("comm: embedded NATS server did not listen on 127.0.0.1 within 10 s: check that the loopback interface is up")
	}
	return s, nil
}

// URL is the address of the server, without secrets.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Endpoint is the address of the server with the credentials of its user.
func (s *Server) Endpoint() Endpoint { return Endpoint{URL: s.URL(), Seed: s.seed} }

// Shutdown disconnects all clients and returns when the server has ended.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

// natsLog hands the server's messages to slog.
type natsLog struct{ to *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) { l.to.Info(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)   { l.to.Warn(fmt.Sprintf(format, v...)) }
func (l natsLog) Errorf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Fatalf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(format string, v ...any)  { l.to.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Tracef(format string, v ...any)  { l.to.Debug(fmt.Sprintf(format, v...)) }
