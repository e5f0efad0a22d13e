package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// process is Envoy with the goroutine that keeps it. That goroutine stays on one thread:
// the kernel ends Envoy when the thread that started it ends (PR_SET_PDEATHSIG), so that
// not even a killed test leaves one behind.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // valid once done is closed
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends it and waits; it may have ended by itself.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	return nil
}

// script gives Envoy, inside the private mounts that `ip netns exec` makes, a path that its
// user may follow and a folder for its logs that nobody else sees, and then becomes that user.
const script = `mount --bind "$1" "$2" && mount -t tmpfs -o mode=777 logs "$3" && bin=$2 && shift 3 && exec setpriv --reuid 1337 --regid 1337 --clear-groups --pdeathsig KILL "$bin" "$@"`

// StartEnvoy starts Envoy with a configuration of its own in a lab that has none, such as one
// whose configuration was served only once the pod was there.
func (l *Lab) StartEnvoy(config []byte) error {
	if l.envoy != nil {
		return errors.New("an Envoy runs already")
	}
	l.opt.Config, l.opt.Plain = config, true
	return l.startEnvoy()
}

// StopEnvoy kills Envoy, so that another may be started.
func (l *Lab) StopEnvoy() error {
	if l.envoy == nil {
		return nil
	}
	err := l.envoy.stop()
	l.readers.Wait()
	l.envoy = nil
	return err
}

// startEnvoy starts Envoy as the pod's proxy user, and waits until its workers run.
func (l *Lab) startEnvoy() error {
	conf := l.Scene.Envoy
	if len(l.opt.Config) > 0 {
		conf = l.opt.Config
	}
	if !l.opt.Plain {
		var err error
		if conf, err = withLogs(conf, l.ownLog()); err != nil {
			return err
		}
	}
	file, bin := filepath.Join(l.Dir, "envoy.yaml"), filepath.Join(l.Dir, "envoy")
	if err := os.WriteFile(file, conf, 0o644); err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(bin, nil, 0o755), os.MkdirAll(filepath.Dir(l.LogFile()), 0o755)); err != nil {
		return err
	}
	envoy, err := filepath.Abs(l.opt.Envoy)
	if err != nil {
		return err
	}
	cmd := exec.Command("ip", "netns", "exec", l.Pod(), "sh", "-c", script, "sh", envoy, bin, filepath.Dir(l.LogFile()),
		"-c", file, "--component-log-level", "config:debug", // for lastWorker
		"--disable-hot-restart", "--file-flush-interval-msec", "20", "--concurrency", "2",
		"--service-node", "envoy-traffic-mock", "--service-cluster", "lab")
	p := &process{cmd: cmd, done: make(chan struct{})}
	lines, said, err := p.start()
	if err != nil {
		return err
	}
	l.envoy = p
	if err := l.readLog(lines, filepath.Join(l.Dir, "access.log")); err != nil {
		return err
	}
	return l.awaitReady(said)
}

// start starts Envoy, and gives its stdout and stderr; who reads them closes them.
func (p *process) start() (stdout, stderr *os.File, err error) {
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		outW.Close()
		return nil, nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = outW, errW
	started := make(chan error, 1)
	go p.keep(started)
	err = <-started
	outW.Close()
	errW.Close()
	if err != nil {
		outR.Close()
		errR.Close()
		return nil, nil, err
	}
	return outR, errR, nil
}

func (p *process) keep(started chan<- error) {
	runtime.LockOSThread() // for the thread's whole life: see process
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// lastWorker is in the line that Envoy writes once every listener listens and its workers start
// (listener_manager_impl.cc, startWorkers). The line "starting workers" comes before the
// sockets listen: a client that is quick would be refused.
const lastWorker = "starting worker 1"

// awaitReady reads Envoy's own log until it says that its workers start, and goes on
// keeping it in a file.
func (l *Lab) awaitReady(said *os.File) error {
	f, err := os.Create(filepath.Join(l.Dir, "envoy.log"))
	if err != nil {
		said.Close()
		return err
	}
	ready := make(chan error, 1)
	l.readers.Go(func() {
		defer f.Close()
		defer said.Close()
		var last string
		up := false
		sc := bufio.NewScanner(said)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			fmt.Fprintln(f, sc.Text())
			last = sc.Text()
			if !up && strings.Contains(last, lastWorker) {
				up = true
				ready <- nil
			}
		}
		io.Copy(f, said) // after a line that was too long: go on emptying the pipe
		if !up {
			ready <- fmt.Errorf("envoy did not come up: %s", last)
		}
	})
	return <-ready
}

// operators are the access log's words that tell a step of the path (Envoy, "Access logging:
// command operators").
var operators = strings.Fields(`START_TIME CONNECTION_ID LISTENER_NAME FILTER_CHAIN_NAME ROUTE_NAME VIRTUAL_CLUSTER_NAME UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
UPSTREAM_HOST UPSTREAM_REMOTE_ADDRESS UPSTREAM_LOCAL_ADDRESS UPSTREAM_CONNECTION_ID UPSTREAM_REQUEST_ATTEMPT_COUNT RESPONSE_CODE RESPONSE_CODE_DETAILS
RESPONSE_FLAGS CONNECTION_TERMINATION_DETAILS DOWNSTREAM_LOCAL_CLOSE_REASON UPSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_TRANSPORT_FAILURE_REASON
DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS REQUESTED_SERVER_NAME PROTOCOL
BYTES_RECEIVED BYTES_SENT DURATION REQ(:METHOD) REQ(:AUTHORITY) REQ(:PATH) REQ(X-REQUEST-ID) CEL(xds.virtual_host_name) CEL(xds.route_name)`)

// logConfig is an access log on stdout whose lines say who wrote them.
func logConfig(by string) []any {
	fields := map[string]any{"logged_by": by}
	for _, op := range operators {
		fields[strings.NewReplacer("REQ(:", "req_", "REQ(", "req_", "CEL(xds.", "xds_", ")", "", "-", "_").Replace(op)] = "%" + op + "%"
	}
	lower := map[string]any{}
	for k, v := range fields {
		lower[strings.ToLower(k)] = v
	}
	return []any{map[string]any{"name": "lab", "typed_config": map[string]any{
		"@type":      "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
		"log_format": map[string]any{"json_format": lower}}}}
}

// LogFile is the file of the option FileLog. Outside Envoy's own mounts it is not there.
func (l *Lab) LogFile() string { return filepath.Join(l.Dir, "logs", "access.log") }

// ownLog is the access log that the option FileLog asks for.
func (l *Lab) ownLog() []any {
	if l.opt.FileLog == nil {
		return nil
	}
	typed := map[string]any{"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": l.LogFile()}
	if len(l.opt.FileLog) > 0 {
		typed["log_format"] = l.opt.FileLog
	}
	return []any{map[string]any{"name": "own", "typed_config": typed}}
}

// withLogs adds an access log to every listener, HTTP connection manager and TCP proxy, and
// another one to all but the listeners. The result is JSON, which is YAML.
func withLogs(conf []byte, own []any) ([]byte, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(conf, &tree); err != nil {
		return nil, fmt.Errorf("the scene's envoy.yaml: %w", err)
	}
	static, _ := either(tree, "static_resources", "staticResources").(map[string]any)
	if static == nil {
		return nil, errors.New("the scene's envoy.yaml has no static_resources")
	}
	for _, l := range list(static["listeners"]) {
		listener, _ := l.(map[string]any)
		listener["access_log"] = logConfig("listener")
		chains := list(either(listener, "filter_chains", "filterChains"))
		if d := either(listener, "default_filter_chain", "defaultFilterChain"); d != nil {
			chains = append(chains, d)
		}
		for _, c := range chains {
			chain, _ := c.(map[string]any)
			for _, f := range list(chain["filters"]) {
				filter, _ := f.(map[string]any)
				addLog(either(filter, "typed_config", "typedConfig"), own)
			}
		}
	}
	return json.MarshalIndent(tree, "", " ")
}

// addLog adds an access log to a filter that can have one.
func addLog(typed any, own []any) {
	conf, _ := typed.(map[string]any)
	switch kind, _ := conf["@type"].(string); {
	case strings.HasSuffix(kind, ".HttpConnectionManager"):
		conf["access_log"] = append(logConfig("hcm"), own...)
	case strings.HasSuffix(kind, ".TcpProxy"):
		conf["access_log"] = append(logConfig("tcp_proxy"), own...)
	}
}

// either is a field by its proto or its JSON name.
func either(m map[string]any, proto, camel string) any {
	if v, ok := m[proto]; ok {
		return v
	}
	return m[camel]
}

// list is a repeated field; protobuf's JSON takes one message for a list of one.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}
