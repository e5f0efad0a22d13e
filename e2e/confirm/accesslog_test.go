package confirm

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// logFormats are the ways in which an access log can be written, with what of the path each
// tells of a request that goes to an HTTP connection manager.
var logFormats = map[string]struct {
	format map[string]any
	tells  map[flow.Stage]string
}{
	// Envoy's own text names neither the client nor the cluster.
	"default": {map[string]any{}, map[flow.Stage]string{flow.Endpoint: "upstream_host"}},
	"text": {map[string]any{"text_format_source": map[string]any{"inline_string": "%START_TIME% %DOWNSTREAM_REMOTE_ADDRESS% \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%\" %RESPONSE_CODE% " +
		"\"%REQ(USER-AGENT)%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_HOST%\n"}}, map[flow.Stage]string{flow.Cluster: "upstream_cluster_raw", flow.Endpoint: "upstream_host"}},
	"json": {map[string]any{"json_format": map[string]any{"from": "%DOWNSTREAM_REMOTE_ADDRESS%", "asked": "%REQ(:METHOD)% %REQ(:PATH)%", "status": "%RESPONSE_CODE%",
		"to": map[string]any{"cluster": "%UPSTREAM_CLUSTER%", "host": "%UPSTREAM_HOST%"}}}, map[flow.Stage]string{flow.Cluster: "upstream_cluster", flow.Endpoint: "upstream_host"}},
}

// What Envoy writes of a request into a file that only it sees says where that request went, in
// each form of its log.
func TestAccessLogIsReadLive(t *testing.T) {
	for name, f := range logFormats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := raise(t, lab.Options{Scene: "mesh", FileLog: f.format}, local.Options{})
			if _, err := os.Stat(r.lab.LogFile()); err == nil {
				t.Fatal("the log is there outside Envoy's own mounts, too")
			}
			for range *runs {
				c := caseOf(t, r, loggedCase)
				rep := r.confirm(t, c.Request)
				if rep.Word != confirm.Confirmed {
					t.Errorf("%v\n%s", rep.Word, render.ReportText(rep))
				}
				for stage, field := range f.tells {
					if !tells(rep, stage, field) {
						t.Errorf("%v is not confirmed by %s of the log\n%s", stage, field, render.ReportText(rep))
					}
				}
			}
		})
	}
}

// loggedCase is a request through a connection manager to an endpoint.
const loggedCase = "svc"

// tells says whether a step of the first pass is confirmed by a field of the access log.
func tells(rep confirm.Report, stage flow.Stage, field string) bool {
	return slices.ContainsFunc(rep.Steps, func(s confirm.Step) bool {
		return s.Leg == 0 && s.Stage == stage && s.Word == confirm.Confirmed && s.Why.Kind == flow.SeenLog && s.Why.Args[0] == field
	})
}

// A log that goes to a pipe cannot be read, which is said, and takes nothing away.
func TestAccessLogOnAPipe(t *testing.T) {
	r := raise(t, lab.Options{Scene: "mesh"}, local.Options{})
	rep := r.confirm(t, caseOf(t, r, loggedCase).Request)
	if rep.Word != confirm.Confirmed {
		t.Errorf("%v\n%s", rep.Word, render.ReportText(rep))
	}
	if len(rep.Loss.Unread) != 1 || rep.Loss.Unread[0].Part != "/dev/stdout" || !strings.Contains(rep.Loss.Unread[0].Reason, "is a pipe") {
		t.Errorf("unread: %+v", rep.Loss.Unread)
	}
}
