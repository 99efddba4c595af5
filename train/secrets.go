package train

import "github.com/galvani-ml/galvani/comm"

// withoutSecrets is the URL of a NATS server without user, password and token: what
// is written to files may hold no more.
func withoutSecrets(url string) string {
	if url == "" {
		return ""
	}
	return comm.Endpoint{URL: url}.String()
}
