// Package istio judges meshtop by recordings of a real Istio mesh: each scene holds the
// snapshots of its pods, the requests that were sent, and what both Envoys logged.
package istio

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Scene is one mesh configuration with its traffic.
type Scene struct {
	Name     string
	Pods     map[string]Pod // client, server-v1, server-v2, gateway
	Requests []Request
}

// Pod is one pod's snapshot.
type Pod struct {
	Files map[string][]byte
	Meta  struct {
		IP       string `json:"pod_ip"`
		EnvoyUID uint32 `json:"envoy_uid"`
	}
}

// Request is one request that curl sent, with what the Envoys on its way logged.
type Request struct {
	ID    string   `json:"id"`
	About string   `json:"about"`
	From  string   `json:"from"` // a pod with a proxy, or outside, plain, envoy
	UID   *uint32  `json:"uid"`
	Port  uint16   `json:"source_port"`
	URL   string   `json:"url"`
	Args  []string `json:"curl_args"`
	// Client is what curl saw; exit 28 is a time-out: Envoy had not ended the connection,
	// and a line is written when it ends.
	Client struct {
		Exit int `json:"curl_exit"`
	} `json:"client"`
	Logs []Log `json:"access_log"`      // of Envoys that saw the client's own port
	Next []Log `json:"access_log_next"` // of Envoys behind them
}

// Log is one line of an Envoy's access log. Empty: null.
type Log struct {
	By       string `json:"logged_by"`
	Listener string `json:"listener_name"`
	Chain    string `json:"filter_chain_name"`
	Route    string `json:"route_name"`
	Cluster  string `json:"upstream_cluster_raw"`
	Host     string `json:"upstream_host"`
	Code     int    `json:"response_code"`
	Details  string `json:"response_code_details"`
	Flags    string `json:"response_flags"`
	Protocol string `json:"protocol"`
	Method   string `json:"req_method"`
	Host1    string `json:"req_authority"`
	Path     string `json:"req_path"`
	SNI      string `json:"requested_server_name"`
	TLS      string `json:"downstream_tls_version"`
	PeerSAN  string `json:"downstream_peer_uri_san"`
	Peer     string `json:"downstream_direct_remote_address"`
	Accepted string `json:"downstream_direct_local_address"`
	Local    string `json:"downstream_local_address"`
}

// Scenes reads all scenes of a folder. A folder without requests is none.
func Scenes(fsys fs.FS) ([]Scene, error) {
	found, err := fs.Glob(fsys, "*/requests.json")
	if err != nil {
		return nil, err
	}
	var out []Scene
	for _, f := range found {
		s, err := readScene(fsys, path.Dir(f))
		if err != nil {
			return nil, fmt.Errorf("scene %s: %w", path.Dir(f), err)
		}
		out = append(out, s)
	}
	return out, nil
}

func readScene(fsys fs.FS, name string) (Scene, error) {
	s := Scene{Name: name}
	b, err := fs.ReadFile(fsys, name+"/requests.json")
	if err != nil {
		return s, err
	}
	var traffic struct{ Requests []Request }
	if err := json.Unmarshal(b, &traffic); err != nil {
		return s, err
	}
	s.Requests = traffic.Requests
	s.Pods, err = readPods(fsys, name)
	return s, err
}

// readPods reads each folder that holds a config_dump.
func readPods(fsys fs.FS, scene string) (map[string]Pod, error) {
	found, err := fs.Glob(fsys, scene+"/*/config_dump.json")
	if err != nil {
		return nil, err
	}
	pods := map[string]Pod{}
	for _, f := range found {
		p := Pod{Files: map[string][]byte{}}
		entries, err := fs.ReadDir(fsys, path.Dir(f))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			b, err := fs.ReadFile(fsys, path.Join(path.Dir(f), e.Name()))
			if err != nil {
				return nil, err
			}
			p.Files[e.Name()] = b
		}
		if err := json.Unmarshal(p.Files["meta.json"], &p.Meta); err != nil {
			return nil, fmt.Errorf("%s: meta.json: %w", f, err)
		}
		pods[path.Base(path.Dir(f))] = p
	}
	return pods, nil
}

// Command is the request as a shell command.
func (r *Request) Command() string {
	words := []string{"curl"}
	for _, a := range append(r.Args, r.URL) {
		words = append(words, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	return strings.Join(words, " ")
}
