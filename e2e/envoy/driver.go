package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Oracle starts a fresh Envoy for each batch: it takes about 0.15 s and leaves no state.
type Oracle struct {
	envoy string // path of the binary
	dir   string
	cert  *certificate
	seq   int
}

// NewOracle prepares an oracle that works in dir.
func NewOracle(envoy, dir string) (*Oracle, error) {
	c, err := newCertificate()
	return &Oracle{envoy: envoy, dir: dir, cert: c}, err
}

// Crash says that Envoy ended by itself while a batch ran.
type Crash struct{ Stderr string }

func (c *Crash) Error() string { return "envoy ended by itself: " + c.Stderr }

// process is one running Envoy.
type process struct {
	cmd    *exec.Cmd
	dir    string
	admin  string // host:port
	log    *accessLog
	stderr bytes.Buffer
	done   chan struct{} // closed when it has ended
}

const (
	startTime = 15 * time.Second
	stopTime  = 3 * time.Second
	readyStep = 4 * time.Millisecond // /ready has no event to wait for
)

// spawn writes the world's files and starts Envoy on them.
func (o *Oracle) spawn(ctx context.Context, w *World) (*process, error) {
	o.seq++
	p := &process{dir: filepath.Join(o.dir, fmt.Sprintf("w%d", o.seq)), done: make(chan struct{})}
	if err := o.write(p.dir, w); err != nil {
		return nil, err
	}
	var err error
	if p.log, err = openAccessLog(filepath.Join(p.dir, "access.log")); err != nil {
		return nil, err
	}
	adminPath := filepath.Join(p.dir, "admin.txt")
	p.cmd = exec.CommandContext(ctx, o.envoy, "-c", filepath.Join(p.dir, "boot.json"), "--concurrency", "1",
		"--file-flush-interval-msec", "15", "--admin-address-path", adminPath, "--disable-hot-restart",
		"--drain-time-s", "1", "--parent-shutdown-time-s", "2", "-l", "error")
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.log.Close()
		return nil, err
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	if err := p.ready(adminPath); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// ready waits until Envoy says that it is live.
func (p *process) ready(adminPath string) error {
	tick := time.NewTicker(readyStep)
	defer tick.Stop()
	late := time.After(startTime)
	for {
		select {
		case <-p.done:
			return &Crash{p.stderr.String()}
		case <-late:
			return fmt.Errorf("envoy is not ready after %v: %s", startTime, p.stderr.String())
		case <-tick.C:
		}
		if p.admin == "" {
			b, _ := os.ReadFile(adminPath)
			p.admin = strings.TrimSpace(string(b))
			continue
		}
		if b, err := p.get("/ready"); err == nil && strings.HasPrefix(string(b), "LIVE") {
			return nil
		}
	}
}

func (p *process) get(path string) ([]byte, error) {
	c := http.Client{Timeout: 20 * time.Second}
	r, err := c.Get("http://" + p.admin + path)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	return io.ReadAll(r.Body)
}

// ended says whether Envoy has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTime):
		p.cmd.Process.Kill()
		<-p.done
	}
	p.log.Close()
	os.RemoveAll(p.dir)
}

// parts are the snapshot's parts and the admin paths that give them.
var parts = map[string]string{
	"config_dump.json": "/config_dump?include_eds",
	"clusters.json":    "/clusters?format=json",
	"listeners.json":   "/listeners?format=json",
	"runtime.json":     "/runtime",
	"server_info.json": "/server_info",
}

func (p *process) snapshot() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, path := range parts {
		b, err := p.get(path)
		if err != nil {
			return nil, err
		}
		files[name] = b
	}
	return files, nil
}

// write makes the folder of one Envoy.
func (o *Oracle) write(dir string, w *World) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, b := range map[string][]byte{
		"lds.json": discovery("envoy.config.listener.v3.Listener", w.Listeners, dir),
		"cds.json": discovery("envoy.config.cluster.v3.Cluster", w.Clusters, dir),
		"rds.json": discovery("envoy.config.route.v3.RouteConfiguration", w.Routes, dir),
		"cert.pem": o.cert.cert, "ca.pem": o.cert.cert, "key.pem": o.cert.key,
		"boot.json": bootstrap(w, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// discovery is a DiscoveryResponse as file-based xDS reads it.
func discovery(kind string, resources []json.RawMessage, dir string) []byte {
	list := []map[string]any{}
	for _, r := range resources {
		m := map[string]any{}
		json.Unmarshal(r, &m)
		m["@type"] = typeURL + kind
		list = append(list, m)
	}
	b, _ := json.Marshal(map[string]any{"version_info": "1", "resources": list})
	return bytes.ReplaceAll(b, []byte("@DIR@"), []byte(dir))
}

func bootstrap(w *World, dir string) []byte {
	file := func(name string) M {
		return M{"resource_api_version": "V3", "path_config_source": M{"path": filepath.Join(dir, name)}}
	}
	static := M(w.Runtime)
	if static == nil {
		static = M{}
	}
	node := M{"id": "oracle", "cluster": "oracle"}
	if w.Zone != "" {
		node["locality"] = M{"zone": w.Zone}
	}
	boot := M{
		"node":              node,
		"admin":             M{"address": socket("127.0.0.1", 0)},
		"dynamic_resources": M{"lds_config": file("lds.json"), "cds_config": file("cds.json")},
		"layered_runtime": M{"layers": A{M{"name": "static", "static_layer": static},
			M{"name": "admin", "admin_layer": M{}}}},
		"bootstrap_extensions": A{ext("envoy.bootstrap.internal_listener",
			"envoy.extensions.bootstrap.internal_listener.v3.InternalListener", nil)},
	}
	if w.Local != nil {
		var local struct{ Name string }
		json.Unmarshal(w.Local, &local)
		boot["static_resources"], boot["cluster_manager"] = M{"clusters": A{w.Local}}, M{"local_cluster_name": local.Name}
	}
	b, _ := json.Marshal(boot)
	return b
}
