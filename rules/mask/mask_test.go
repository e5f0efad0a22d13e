package mask

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

const (
	pem  = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc+/=\n-----END RSA PRIVATE KEY-----"
	jwt  = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
	cert = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSQ==" // BEGIN CERTIFICATE
	key  = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JSQ==" // BEGIN PRIVATE KEY
)

// What is a secret goes, what decides a path stays.
func TestPart(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		// envoy.extensions.transport_sockets.tls.v3.TlsCertificate
		{"config_dump.json", `{"private_key":{"inline_bytes":"AAA"},"certificate_chain":{"inline_bytes":"BBB"},"password":{"inline_string":"p"}}`,
			`{"private_key":{"inline_bytes":"[masked]"},"certificate_chain":{"inline_bytes":"BBB"},"password":{"inline_string":"[masked]"}}`},
		{"config_dump.json", `{"privateKey": {"filename": "/etc/key", "environment_variable": "KEY"}}`, `{"privateKey": {"filename": "/etc/key", "environment_variable": "KEY"}}`},
		{"config_dump.json", `{"session_ticket_keys":{"keys":[{"inline_string":"a"},{"filename":"/b"}]},"generic_secret":{"secret":{"inline_string":"s"}}}`,
			`{"session_ticket_keys":{"keys":[{"inline_string":"[masked]"},{"filename":"/b"}]},"generic_secret":{"secret":{"inline_string":"[masked]"}}}`},
		// A secret's name is no secret, nor is a subset's key.
		{"config_dump.json", `{"secret":{"name":"default","tls_certificate":{}},"subset_selectors":[{"keys":["version"]}]}`,
			`{"secret":{"name":"default","tls_certificate":{}},"subset_selectors":[{"keys":["version"]}]}`},
		// envoy.config.core.v3.HeaderValue, envoy.config.route.v3.HeaderMatcher
		{"config_dump.json", `[{"header":{"key":"Authorization","value":"abc"}},{"header":{"key":"x-a","value":"v"}}]`, `[{"header":{"key":"Authorization","value":"[masked]"}},{"header":{"key":"x-a","value":"v"}}]`},
		{"config_dump.json", `{"headers":[{"name":"x-api-key","string_match":{"exact":"k","ignore_case":true}},{"name":"version","string_match":{"exact":"v2"}}]}`,
			`{"headers":[{"name":"x-api-key","string_match":{"exact":"[masked]","ignore_case":true}},{"name":"version","string_match":{"exact":"v2"}}]}`},
		// A canary's route looks for a part of a cookie; a cookie that is sent is a secret.
		{"config_dump.json", `{"headers":[{"name":"cookie","string_match":{"safe_regex":{"regex":"user=beta"}}}],"add":[{"header":{"key":"cookie","value":"s=1"}}]}`,
			`{"headers":[{"name":"cookie","string_match":{"safe_regex":{"regex":"user=beta"}}}],"add":[{"header":{"key":"cookie","value":"[masked]"}}]}`},
		// A virtual host that is named like a secret keeps its routes.
		{"config_dump.json", `{"name":"my-secret","domains":["a"],"routes":[{"name":"get-token","match":{"prefix":"/"}}]}`,
			`{"name":"my-secret","domains":["a"],"routes":[{"name":"get-token","match":{"prefix":"/"}}]}`},
		{"config_dump.json", `{"json_format":{"authorization":"%REQ(AUTHORIZATION)%"}}`, `{"json_format":{"authorization":"%REQ(AUTHORIZATION)%"}}`},
		{"config_dump.json", `{"code":"h:add('authorization', 'Bearer abc123def')","url":"http://u:pw@host/x?token=abc"}`,
			`{"code":"h:add('authorization', 'Bearer [masked]')","url":"http://[masked]@host/x?token=[masked]"}`},
		{"config_dump.json", `{"a":"` + strings.ReplaceAll(pem, "\n", `\n`) + `","b":"` + key + `","c":"` + cert + `","d":"` + jwt + `"}`,
			`{"a":"[masked]","b":"[masked]","c":"` + cert + `","d":"[masked]"}`},
		{"config_dump.json", `{"password":"cut of`, `{"password":"[masked]"`},
		// v1.EnvVar
		{"pod.json", `{"env":[{"name":"DB_PASSWORD","value":"x"},{"name":"PORT","value":"80"},{"name":"T_TOKEN","valueFrom":{"secretKeyRef":{"name":"a","key":"token"}}}]}`,
			`{"env":[{"name":"DB_PASSWORD","value":"[masked]"},{"name":"PORT","value":"80"},{"name":"T_TOKEN","valueFrom":{"secretKeyRef":{"name":"a","key":"token"}}}]}`},
		{"pod.json", `{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"env\":[{\"name\":\"API_KEY\",\"value\":\"k\"}]}"}}`,
			`{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"env\":[{\"name\":\"API_KEY\",\"value\":\"[masked]\"}]}"}}`},
		{"pod.yaml", "env:\n  - name: PORT # why\n    value: \"80\"\n", "env:\n  - name: PORT # why\n    value: \"80\"\n"},
		{"pod.yaml", "env:\n  - value: |\n      two\n      lines\n    name: MY_SECRET\nprivate_key:\n  inline_string: x\n", "env:\n  - value: \"[masked]\"\n    name: MY_SECRET\nprivate_key:\n  inline_string: \"[masked]\"\n"},
		{"iptables-save", "-A OUTPUT -m comment --comment \"basic authentication\" -j RETURN\n", "-A OUTPUT -m comment --comment \"basic authentication\" -j RETURN\n"},
		{"notes", "GET / HTTP/1.1\r\nCookie: a=b; c=d\r\nX-API-Key: k\r\n" + pem + "\n", "GET / HTTP/1.1\r\nCookie: [masked]\r\nX-API-Key: [masked]\r\n[masked]"},
		{"notes", "AKIAABCDEFGHIJKLMNOP glpat-abcdefghijklmnopqrst", "[masked] [masked]"},
	} {
		got, n, err := Part(c.name, []byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%v\n  in %s\n got %s\nwant %s", err, c.in, got, c.want)
		}
		if (n == 0) != (c.in == c.want) {
			t.Errorf("%d counted in %s", n, c.in)
		}
		if again, n, err := Part(c.name, got); err != nil || n != 0 || !bytes.Equal(again, got) {
			t.Errorf("masked twice, %s becomes %s (%v)", got, again, err)
		}
	}
}

// What cannot be looked into is left out, and said.
func TestFilesFailClosed(t *testing.T) {
	out, counts, gaps := Files(map[string][]byte{"a.pcap": {0, 1}, "bad.yaml": []byte("a: [b\n"), "iptables-save": []byte("*nat\n"), "x.json": []byte(`{"token":"t"}`)})
	if len(out) != 2 || len(gaps) != 2 || gaps[0].Part != "a.pcap" || gaps[1].Part != "bad.yaml" || counts["x.json"] != 1 || len(counts) != 1 {
		t.Errorf("out %v, counts %v, gaps %v", out, counts, gaps)
	}
}

func FuzzPart(f *testing.F) {
	f.Add("a.json", []byte(`{"private_key":{"inline_string":"x"},"l":["\u0041\"",{"key":"cookie","value":"y"}]}`))
	f.Add("a.yaml", []byte("a: &x {password: y}\nb: *x\n"))
	f.Add("a", []byte(pem+jwt))
	f.Fuzz(func(t *testing.T, name string, in []byte) {
		out, _, err := Part(name, in)
		if err != nil {
			return
		}
		if json.Valid(in) && !json.Valid(out) && !strings.HasSuffix(name, "ml") {
			t.Errorf("%s is no JSON any more: %s", in, out)
		}
	})
}

// To search only around the hints finds what a search of everything finds.
func TestPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	words := []string{"\"", "\n", "\"\n", " ", "x", ".", "\\n", "'", "\r", "é", "-----BEGIN EC PRIVATE KEY-----", "MIIB", "LS0tLS1CRUdJTi", "BQUFB", "==", "eyJhbGciOi", "eyJhbGciOi.eyJhbGciOi.abc",
		"Bearer ", "basic ", "dXNlcjpwYXNz", "http://", "user:pw@", "?token=", "&access_key=", "secret", "AKIA", "ABCDEFGHIJ012345", "ghp_", "xoxb-", "glpat-", strings.Repeat("Ab1", 12), "Cookie: ", "set-cookie:", "x-api-key: "}
	hits := 0
	for range 4_000 {
		var b strings.Builder
		for range 1 + r.IntN(14) {
			b.WriteString(words[r.IntN(len(words))])
		}
		in := []byte(b.String())
		for _, p := range patterns() {
			n, all := 0, 0
			got := p.mask(in, &n)
			p.hints, p.lines = []string{""}, true // the whole text is one place
			want := p.mask(in, &all)
			if n != all || !bytes.Equal(got, want) {
				t.Fatalf("%q\nbecomes %q\nwant    %q", in, got, want)
			}
			hits += n
		}
	}
	if hits < 200 {
		t.Errorf("%d secrets found: the test lost its edge", hits)
	}
}
