package envoy

import "testing"

// secretGaps are TLS contexts whose secrets SDS does not bring: the file that they are to
// come from holds another resource, and Envoy goes on without.
func secretGaps() []gap {
	sds := func(name string) M {
		return M{"name": name, "sds_config": M{"resource_api_version": "V3", "initial_fetch_timeout": "0.3s", "path_config_source": M{"path": "@DIR@/rds.json"}}}
	}
	down := func(common M) func(M) M {
		return func(l M) M {
			l = web(oneRoute(routeTo("c1", everything, nil)), nil)(l)
			s := serverTLS(nil)
			s["typed_config"].(M)["common_tls_context"] = common
			l["filter_chains"].(A)[0].(M)["transport_socket"] = s
			return l
		}
	}
	own := serverTLS(nil)["typed_config"].(M)["common_tls_context"].(M)
	own["validation_context_sds_secret_config"] = sds("ca")
	up := func(name string) M {
		c := static("s."+name, endpoint(up(1)))
		c["transport_socket"] = ext("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
			M{"common_tls_context": M{"tls_certificate_sds_secret_configs": A{sds("mine")}}})
		return c
	}
	q := get("a.test", "/")
	hello := q.over(&TLS{SNI: "oracle.test", Handshake: true})
	cert := M{"tls_certificate_sds_secret_configs": A{sds("cred")}}
	row := func(name string, action M) gap {
		return gap{name: "secret: " + name, want: `"code":503,"details":"upstream_reset_before_response_started{remote_connection_failure|TLS_error:_Secret_is_not_supplied_by_SDS}"`,
			request: q, listener: web(oneRoute(routeTo("s."+name, everything, action)), nil), clusters: []M{up(name)}}
	}
	return []gap{
		{name: "secret: the server's certificate", want: `"tls_error":true`, request: hello, listener: down(cert)},
		{name: "secret: what clients are checked by", want: `"tls_error":true`, request: hello, listener: down(own)},
		{name: "secret: a client in plain text", want: `"closed":true`, request: q, listener: down(cert)},
		row("the client's certificate", nil),
		row("the client's certificate, tried again", M{"retry_policy": M{"retry_on": "connect-failure", "num_retries": 1}}),
	}
}

func TestSecrets(t *testing.T) {
	if Isolated(t) {
		runGaps(t, secretGaps())
	}
}
