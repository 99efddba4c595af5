package comm

import (
	"errors"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Endpoint says where a NATS server is and how to be let in. Its text forms
// leave out the secrets.
type Endpoint struct {
	URL  string // nats://host:port or tls://host:port, with user:password@ or token@ if the server wants it
	Seed string // seed of an nkey user, if the server wants that
}

// String returns scheme, host and port.
func (e Endpoint) String() string {
	var hosts []string
	for part := range strings.SplitSeq(e.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" {
			// Whatever comes before an @ may be a secret.
			hosts = append(hosts, part[strings.LastIndexByte(part, '@')+1:])
			continue
		}
		hosts = append(hosts, u.Scheme+"://"+u.Host)
	}
	return strings.Join(hosts, ",")
}

// check refuses addresses that cannot be parsed. The client library would too,
// but with the secrets in the text of its error.
func (e Endpoint) check() error {
	for part := range strings.SplitSeq(e.URL, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Hostname() == "" {
			return errors.New("comm: the URL of the NATS server at " + e.String() + " is not valid: expected nats://host:port")
		}
	}
	return nil
}

// GoString is String, so that %#v tells no secrets either.
func (e Endpoint) GoString() string { return e.String() }

// auth returns the option that signs in with the seed, if there is one.
func (e Endpoint) auth() (nats.Option, error) {
	if e.Seed == "" {
		return func(*nats.Options) error { return nil }, nil
	}
	pair, err := nkeys.FromSeed([]byte(e.Seed))
	if err != nil {
		return nil, errors.New("comm: the nkey seed for " + e.String() + " is not valid: expected a user seed, which starts with SU")
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	return nats.Nkey(public, pair.Sign), nil
}
