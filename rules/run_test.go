package rules

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What the caller sees where the proxy cannot reach the endpoint is what Envoy makes of it:
// by gRPC, by the route's retries, and by local_reply_config (e2e/envoy, TestFailed).
func TestCallerOfAFailedConnection(t *testing.T) {
	const dead, again = "127.0.0.1:9", `{"cluster":"c","retry_policy":{"retry_on":"connect-failure"}}`
	mapped := `"local_reply_config":{"mappers":[{"status_code":598,"filter":{"status_code_filter":{"comparison":{"op":"EQ","value":{"default_value":503,"runtime_key":"x"}}}}}]},`
	grpc := get([2]string{"content-type", "application/grpc"})
	for _, c := range []struct {
		what, hcm, route string
		req              flow.Request
		want             flow.Symptom
	}{
		{"once", "", `{"cluster":"c"}`, get(), flow.Symptom{Code: 503, Flags: "UF", TCP: flow.TCPOK}},
		{"gRPC", "", `{"cluster":"c"}`, grpc, flow.Symptom{Code: 200, Flags: "UF", TCP: flow.TCPOK}},
		{"tried again", "", again, get(), flow.Symptom{Code: 503, Flags: "URX,UF", TCP: flow.TCPOK}},
		{"mapped", mapped, `{"cluster":"c"}`, get(), flow.Symptom{Code: 598, Flags: "UF", TCP: flow.TCPOK}},
	} {
		got := Trace(proxied(t, c.hcm, c.route, cluster("c", dead)), c.req)
		if got.Verdict != flow.Refused || got.Caller != c.want {
			t.Errorf("%s: %v %+v, want %+v", c.what, got.Verdict, got.Caller, c.want)
		}
	}
	got := Trace(proxied(t, "", again, cluster("c", dead, "10.3.0.1:80")), get())
	if got.Verdict != flow.Depends || len(got.Variants) != 2 {
		t.Fatalf("one of two dead: %v, %d variants", got.Verdict, len(got.Variants))
	}
	if v := got.Variants[0]; v.Verdict != flow.Refused || v.Computable || !strings.Contains(v.When, "further tries fail") {
		t.Errorf("the dead one of two, tried again: %+v", v)
	}
}
