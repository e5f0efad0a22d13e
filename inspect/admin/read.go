package admin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Large is the number of listeners above which the whole configuration is not read unless
// somebody asks for it: it would hold up Envoy's main thread for seconds.
const Large = 500

// Parts of a flow.Need that the admin interface can bring.
const (
	needListener  = "listener"
	needRoute     = "route"
	needCluster   = "cluster"
	needEndpoints = "endpoints"
	needECDS      = "ecds"
	needSecret    = "secret" // Envoy itself leaves out private keys
)

// resources are the lists of a config dump in which a need's object can be, all of one section
// (envoy/admin/v3/config_dump_shared.proto).
var resources = map[string]string{
	needListener:  "dynamic_listeners,static_listeners",
	needRoute:     "dynamic_route_configs,static_route_configs",
	needCluster:   "dynamic_active_clusters,static_clusters,dynamic_warming_clusters",
	needEndpoints: "dynamic_endpoint_configs,static_endpoint_configs",
	needECDS:      "ecds_filters",
	needSecret:    "dynamic_active_secrets,static_secrets",
}

// reading is one Read under way.
type reading struct {
	f    *Found
	want inspect.Want
	out  inspect.Snapshot
	hung bool
}

// Read reads what want asks for of Envoy's parts: of a small Envoy all, of a large one what
// names it, and of Needs just those. What is refused or hangs is a Gap.
func (f *Found) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	r := &reading{f: f, want: want, out: inspect.Snapshot{Files: inspect.Files{}}}
	if len(want.Needs) > 0 {
		for _, n := range want.Needs {
			r.need(ctx, n)
		}
		if len(want.Parts) == 0 {
			return r.out, ctx.Err()
		}
	}
	r.listeners()
	r.part(ctx, "server_info.json", question{path: "/server_info", json: true})
	r.dump(ctx)
	whole := !r.large() || r.want.Full
	if whole {
		r.part(ctx, "clusters.json", question{path: "/clusters?format=json", json: true})
	}
	r.part(ctx, "runtime.json", question{path: "/runtime", json: true})
	if whole {
		// Every TLS context has its entry: 7 MB and 0.7 s where 10,000 clusters speak TLS.
		r.part(ctx, "certs.json", question{path: "/certs", json: true, max: 64 << 20})
		r.part(ctx, "stats", question{path: "/stats", max: 64 << 20})
	}
	return r.out, ctx.Err()
}

// large says whether Envoy has too many listeners to be read whole.
func (r *reading) large() bool { return len(r.f.Names) > Large }

// wants says whether a part is among those asked for.
func (r *reading) wants(part string) bool {
	if len(r.want.Parts) == 0 {
		return true
	}
	for _, p := range r.want.Parts {
		if p == part {
			return true
		}
	}
	return false
}

// listeners is the answer by which the admin interface was found.
func (r *reading) listeners() {
	const part = "listeners.json"
	switch {
	case !r.wants(part):
	case r.f.Refused != nil:
		r.gap(part, r.f.Refused)
	default:
		r.out.Files[part] = r.f.Listeners
		r.tell(inspect.Progress{Part: part, Bytes: int64(len(r.f.Listeners)), Done: true})
	}
}

// bootstrapPath asks for the bootstrap only. A mask alone has Envoy build all that is then cut
// away, and free it after the answer; what no name matches is not built. The bootstrap has no
// name and always comes (config_dump_handler.cc, addAllConfigToDump).
const bootstrapPath = "/config_dump?mask=bootstrap&name_regex=-"

// dump reads the whole configuration, or of a large Envoy only its bootstrap.
func (r *reading) dump(ctx context.Context) {
	const part = "config_dump.json"
	if !r.wants(part) {
		return
	}
	if r.large() && !r.want.Full {
		r.part(ctx, "config_dump/bootstrap.json", question{path: bootstrapPath, json: true})
		return
	}
	r.part(ctx, part, question{path: "/config_dump?include_eds", json: true, long: true, max: r.want.MaxBytes})
}

// part asks for one part and keeps it, or the reason why not.
func (r *reading) part(ctx context.Context, part string, q question) {
	if !r.wants(part) && !strings.HasPrefix(part, "config_dump/") || ctx.Err() != nil {
		return
	}
	if r.hung {
		r.gap(part, fmt.Errorf("not asked: %s gave no answer before", r.f.Addr()))
		return
	}
	q.progress = func(n int64) { r.tell(inspect.Progress{Part: part, Bytes: n}) }
	q.progress(0) // Envoy may think for long before the first byte
	data, call, err := r.f.ask(ctx, q)
	r.out.Calls = append(r.out.Calls, call)
	if err != nil {
		r.hung = errors.Is(err, ErrHung)
		r.gap(part, err)
		return
	}
	r.out.Files[part] = data
	r.tell(inspect.Progress{Part: part, Bytes: int64(len(data)), Total: int64(len(data)), Done: true})
}

// need reads one object by name from every list that it can be in, at once: whatever is asked,
// Envoy walks all that it has, 30 ms for 10,000 services. mask= brings what resource= would, of
// several lists, and of every section where there are several, as for ECDS (1.40). An empty
// answer is kept: it says that the object does not exist. A table may hold half of all that Envoy
// has, and Envoy's processor may be bounded: it has as long as a whole configuration.
func (r *reading) need(ctx context.Context, n flow.Need) {
	lists, ok := resources[n.Part]
	if !ok {
		r.gap(n.Part, fmt.Errorf("the admin interface cannot be asked for a %q by name", n.Part))
		return
	}
	path := "/config_dump?mask=" + lists + "&name_regex=" + url.QueryEscape(regexp.QuoteMeta(n.Name))
	if n.Part == needEndpoints {
		path += "&include_eds"
	}
	r.part(ctx, "config_dump/"+lists+"/"+url.PathEscape(n.Name)+".json", question{path: path, json: true, long: true, max: r.want.MaxBytes})
	if n.Part == needCluster {
		// The live hosts with their health; filter is a regex over cluster names.
		path := "/clusters?format=json&filter=" + url.QueryEscape("^"+regexp.QuoteMeta(n.Name)+"$")
		r.part(ctx, "clusters/"+url.PathEscape(n.Name)+".json", question{path: path, json: true})
	}
}

func (r *reading) gap(part string, err error) {
	r.out.Gaps = append(r.out.Gaps, flow.Gap{Part: part, Reason: err.Error()})
	r.tell(inspect.Progress{Part: part, Done: true, Err: err})
}

func (r *reading) tell(p inspect.Progress) {
	if r.want.Progress != nil {
		r.want.Progress(p)
	}
}
