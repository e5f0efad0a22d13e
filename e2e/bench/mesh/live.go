package mesh

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// Live is the mesh as a real Envoy can be given it, by REST xDS: the same resources, names and
// routes, without the extensions and secrets that only Istio's own Envoy can have.
type Live struct {
	Mesh
	cert, key string // of every listener that ends TLS; PEM
}

// NewLive makes a throw-away certificate for the mesh.
func NewLive(m Mesh) (*Live, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"debugged." + ownNamespace}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	pemOf := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return &Live{Mesh: m, cert: pemOf("CERTIFICATE", der), key: pemOf("PRIVATE KEY", raw)}, nil
}

// Bootstrap is the configuration of an Envoy that has its admin interface on 127.0.0.1:admin and
// asks a Handler on 127.0.0.1:xds.
func (l *Live) Bootstrap(admin, xds int) []byte {
	const many = 1 << 20 // every cluster and table is a request of its own, at once
	return encode(obj{
		"dynamic_resources", obj{"lds_config", rest(), "cds_config", rest()},
		"admin", obj{"address", address("127.0.0.1", admin)},
		"layered_runtime", obj{"layers", arr{obj{"name", "static", "static_layer", obj{"http.async_response_buffer_limit", 1 << 30}}}},
		"static_resources", obj{"clusters", arr{obj{"name", "xds", "type", "STATIC", "connect_timeout", "5s",
			"circuit_breakers", obj{"thresholds", arr{obj{"max_connections", 8, "max_pending_requests", many, "max_requests", many}}},
			"load_assignment", obj{"cluster_name", "xds", "endpoints", arr{obj{"lb_endpoints", arr{obj{"endpoint", obj{"address", address("127.0.0.1", xds)}}}}}}}}},
	})
}

// rest is a source of configuration: what it says is asked for once.
func rest() obj {
	return obj{"api_config_source", obj{"api_type", "REST", "transport_api_version", "V3", "cluster_names", arr{"xds"},
		"refresh_delay", "86400s", "request_timeout", "600s"}, "initial_fetch_timeout", "0s", "resource_api_version", "V3"}
}

// Handler answers Envoy's REST xDS requests: clusters and listeners all at once, tables and
// endpoints by name. It makes every answer beforehand.
func (l *Live) Handler() http.Handler {
	all := func(each func(emit func(any))) http.HandlerFunc {
		body := l.answer(stream(each))
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v3/discovery:clusters", all(func(emit func(any)) { l.clusters(func(c obj) { emit(c) }) }))
	mux.HandleFunc("/v3/discovery:listeners", all(func(emit func(any)) { l.listeners(func(_ string, o obj) { emit(o) }) }))
	mux.HandleFunc("/v3/discovery:routes", l.byName(l.tables))
	mux.HandleFunc("/v3/discovery:endpoints", l.byName(l.assignments))
	return mux
}

// byName answers with the one resource that is asked for; an obj's name is its second member,
// behind its type.
func (l *Live) byName(each func(emit func(obj))) http.HandlerFunc {
	answers := map[string][]byte{}
	each(func(o obj) { answers[o[3].(string)] = l.answer(arr{o}) })
	return func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Names []string `json:"resource_names"`
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Names) != 1 || answers[q.Names[0]] == nil {
			http.Error(w, fmt.Sprintf("want one known name: %v, %q", err, q.Names), http.StatusNotFound)
			return
		}
		_, _ = w.Write(answers[q.Names[0]])
	}
}

// answer is a DiscoveryResponse.
func (l *Live) answer(resources any) []byte {
	return encode(obj{"version_info", version, "resources", l.known(resources)})
}

func encode(v any) []byte {
	var b bytes.Buffer
	w := &writer{w: bufio.NewWriter(&b)}
	w.value(v)
	_ = w.w.Flush() // into memory
	return b.Bytes()
}

// known is a value as a stock Envoy knows it.
func (l *Live) known(v any) any {
	switch v := v.(type) {
	case obj:
		return l.object(v)
	case arr:
		out := arr{}
		for _, x := range v {
			if !istios(x) {
				out = append(out, l.known(x))
			}
		}
		return out
	case stream:
		return stream(func(emit func(any)) { v(func(x any) { emit(l.known(x)) }) })
	}
	return v
}

func (l *Live) object(o obj) obj {
	if len(o) > 0 && o[0] == "ads" {
		return rest()
	}
	out := make(obj, 0, len(o))
	for i := 0; i < len(o); i += 2 {
		switch {
		case o[i] == "combined_validation_context": // by SDS
		case o[i] != "tls_certificate_sds_secret_configs":
			out = append(out, o[i], l.known(o[i+1]))
		case fromADS(o[i+1]): // a server's; a client's is left out
			inline := func(s string) obj { return obj{"inline_string", s} }
			out = append(out, "tls_certificates", arr{obj{"certificate_chain", inline(l.cert), "private_key", inline(l.key)}})
		}
	}
	return out
}

// fromADS says whether a list of secrets comes by ADS, as a listener's does.
func fromADS(secrets any) bool {
	return secrets.(arr)[0].(obj)[3].(obj)[0] == "ads"
}

// istios says whether an extension is one of Istio's own.
func istios(x any) bool {
	o, ok := x.(obj)
	if !ok || len(o) < 2 || o[0] != "name" {
		return false
	}
	name, _ := o[1].(string)
	return strings.HasPrefix(name, "istio.")
}
