package envoy

import (
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// failedGaps are requests to an endpoint where nothing listens.
func failedGaps() []gap {
	flag := func(name string, code int) M {
		return M{"local_reply_config": M{"mappers": A{M{"filter": M{"response_flag_filter": M{"flags": A{name}}}, "status_code": code}}}}
	}
	byCode := M{"local_reply_config": M{"mappers": A{M{"status_code": 598,
		"filter": M{"status_code_filter": M{"comparison": M{"op": "EQ", "value": M{"default_value": 503, "runtime_key": "x"}}}}}}}}
	delay := M{"http_filters": A{ext("fault", filterNS+"http.fault.v3.HTTPFault", M{"delay": M{"fixed_delay": "0.01s", "percentage": M{"numerator": 100}}}), router()}}
	retry := func(on string, more M) M {
		p := M{"retry_on": on, "num_retries": 1}
		for k, v := range more {
			p[k] = v
		}
		return M{"retry_policy": p}
	}
	grpc := get("a.test", "/p.S/M", [2]string{"content-type", "application/grpc"}).with("POST", "")
	row := func(name, want string, action, options M, q Request) gap {
		dead := static("d."+name, endpoint(dead)) // its own, since retries are limited
		return gap{name: "failed: " + name, want: want, request: q, listener: web(oneRoute(routeTo("d."+name, everything, action)), options), clusters: []M{dead}}
	}
	q := get("a.test", "/")
	const once, again = `"code":503,"details":"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}","flags":"UF"`, `"flags":"URX,UF"`
	return []gap{
		row("once", once, nil, nil, q),
		row("gRPC", `"code":200`, nil, nil, grpc),
		row("gRPC, tried again", again, retry("connect-failure", nil), nil, grpc),
		row("tried again", again, retry("connect-failure", nil), nil, q),
		row("tried again on 5xx", again, retry("5xx", nil), nil, q),
		row("tried again on gateway errors", again, retry("gateway-error", nil), nil, q),
		row("tried again on resets", again, retry("reset", nil), nil, q),
		row("tried again before the request", again, retry("reset-before-request", nil), nil, q),
		row("not tried again on status codes", once, retry("retriable-status-codes", M{"retriable_status_codes": A{503}}), nil, q),
		row("not tried again on refused streams", once, retry("refused-stream", nil), nil, q),
		row("no tries left at once", again, retry("connect-failure", M{"num_retries": 0}), nil, q),
		row("not tried again by an outsider's header", once, nil, nil, get("a.test", "/", [2]string{"x-envoy-retry-on", "connect-failure"})),
		row("no retriable header", once, retry("5xx", M{"retriable_request_headers": A{M{"name": "x-again", "present_match": true}}}), nil, q),
		row("mapped by flag", `"code":599`, nil, flag("UF", 599), q),
		row("mapped by a flag of two", `"code":599`, retry("5xx", nil), flag("UF", 599), q),
		row("mapped by the other flag", `"code":597`, retry("5xx", nil), flag("URX", 597), q),
		row("mapped by code", `"code":598`, nil, byCode, q),
		row("gRPC is mapped to no code", `"code":200`, nil, byCode, grpc),
		row("delayed", `"flags":"DI,UF"`, nil, delay, q),
		row("delayed and tried again", `"flags":"DI,URX,UF"`, retry("5xx", nil), delay, q),
		{name: "failed: delayed, without a host", want: `"flags":"DI,UH"`, request: q, listener: web(oneRoute(routeTo("c.empty", everything, nil)), delay)},
	}
}

func TestFailed(t *testing.T) {
	if Isolated(t) {
		runGaps(t, failedGaps())
	}
}

// What meshtop says of a connection that fails is compared with Envoy's log.
func TestJudgeFailed(t *testing.T) {
	c := &Case{Outcomes: []Outcome{{Log: "http", Host: "h", Code: 599, Flags: "URX,UF"}}}
	for _, k := range []struct {
		flags string
		code  int
		want  Word
	}{{"URX,UF", 599, Agree}, {"UF", 599, Disagree}, {"URX,UF", 503, Disagree}, {"", 0, Agree}} {
		v := Variant{Result: envoy.Result{Verdict: flow.Continue, Outcome: flow.Outcome{Endpoint: "h"}, Failed: flow.Symptom{Flags: k.flags, Code: k.code}}}
		c.Outcomes[0].Client = &ClientSide{Status: 599}
		if got := Judge(c, []Variant{v}); got.Word != k.want {
			t.Errorf("%+v: %d %s", k, got.Word, got.Why)
		}
	}
}
