package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/power"
)

// made makes a namespace of its own for the test.
func made(t *testing.T, suffix string) (string, *Space) {
	t.Helper()
	power.Root(t)
	power.Tools(t, "ip")
	name := fmt.Sprintf("mt-%d-%s", os.Getpid(), suffix)
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	s, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return name, s
}

// first runs functions on the process's first thread, whose namespace /proc/self shows.
var first = make(chan func())

func init() { runtime.LockOSThread() } // the main goroutine stays on the first thread

func TestMain(m *testing.M) {
	code := make(chan int)
	go func() { code <- m.Run() }()
	for {
		select {
		case f := <-first:
			f()
		case c := <-code:
			os.Exit(c)
		}
	}
}

// A namespace is not taken for the own one because the process's first thread is in it.
func TestFirstThreadElsewhere(t *testing.T) {
	name, s := made(t, "first")
	inside, leave, left := make(chan error), make(chan bool), make(chan error)
	first <- func() {
		back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			inside <- err
			return
		}
		defer unix.Close(back)
		fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		inside <- err
		<-leave
		left <- unix.Setns(back, unix.CLONE_NEWNET)
	}
	if err := <-inside; err != nil {
		t.Fatal(err)
	}
	defer func() {
		leave <- true
		if err := <-left; err != nil {
			t.Error(err)
		}
	}()
	again, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if again.Own() || !own.Own() || own.ID() == s.ID() {
		t.Errorf("the namespace is taken for the own one: %v; the own one is %d, not %d", again.Own(), own.ID(), s.ID())
	}
	if err := again.Do(func() error {
		if got, want := link(t, "/proc/thread-self/ns/net"), fmt.Sprintf("net:[%d]", s.ID()); got != want {
			t.Errorf("the thread is in %s, want %s", got, want)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// What is opened inside belongs to the namespace, children included, and the caller's
// thread is where it was.
func TestDoIsInside(t *testing.T) {
	_, s := made(t, "inside")
	if s.Own() {
		t.Fatal("a new namespace is not our own")
	}
	before := link(t, "/proc/self/ns/net")
	var child []byte
	err := s.Do(func() error {
		if got, want := link(t, "/proc/thread-self/ns/net"), fmt.Sprintf("net:[%d]", s.ID()); got != want {
			t.Errorf("the thread is in %s, want %s", got, want)
		}
		if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		child, err = exec.Command("readlink", "/proc/self/ns/net").Output()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(child)), fmt.Sprintf("net:[%d]", s.ID()); got != want {
		t.Errorf("the child was in %s, want %s", got, want)
	}
	if got := link(t, "/proc/self/ns/net"); got != before {
		t.Errorf("we are in %s, were in %s", got, before)
	}
}

// Many at once end where they began: a thread that was not put back would carry a later
// goroutine into the wrong namespace.
func TestDoGoesBack(t *testing.T) {
	_, s := made(t, "back")
	own := link(t, "/proc/self/ns/net")
	const n = 64
	got := make(chan string, n)
	for range n {
		go func() {
			s.Do(func() error { return nil })
			p, _ := os.Readlink("/proc/thread-self/ns/net")
			got <- p
		}()
	}
	for range n {
		if p := <-got; p != own {
			t.Fatalf("a goroutine came to be in %s, not %s", p, own)
		}
	}
}

func TestDoGivesTheError(t *testing.T) {
	s, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	want := errors.New("from inside")
	if err := s.Do(func() error { return want }); err != want {
		t.Errorf("got %v", err)
	}
	s.Close()
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := s.Do(func() error { return nil }); err == nil {
		t.Error("a closed namespace was entered")
	}
}

func TestGone(t *testing.T) {
	for name, open := range map[string]func() (*Space, error){
		"name": func() (*Space, error) { return Named("mt-never-was") },
		"pid":  func() (*Space, error) { return OfPid(1 << 30) },
	} {
		if _, err := open(); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v, want ErrGone", name, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../../proc/1/ns/net", "a/b"} {
		if _, err := Named(bad); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("name %q: %v, want an error that says it is no name", bad, err)
		}
	}
}

// A name whose mount is gone is an empty file: to be told from a namespace.
func TestRestOfAName(t *testing.T) {
	power.Root(t)
	name := fmt.Sprintf("mt-%d-rest", os.Getpid())
	path := filepath.Join(runDir, name)
	os.MkdirAll(runDir, 0o755)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	if _, err := Named(name); !errors.Is(err, ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
}

// The own namespace needs no power to be "entered".
func TestOwn(t *testing.T) {
	s, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Own() || s.ID() == 0 {
		t.Errorf("own %v, id %d", s.Own(), s.ID())
	}
	ran := false
	if err := s.Do(func() error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("ran %v, %v", ran, err)
	}
}

func link(t *testing.T, path string) string {
	t.Helper()
	p, err := os.Readlink(path)
	if err != nil {
		t.Error(err)
	}
	return p
}

// A socket belongs to whom it was made as, and the thread is root's again afterwards.
func TestDoAs(t *testing.T) {
	_, s := made(t, "as")
	var owner uint32
	err := s.DoAs(1337, 1338, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		owner = st.Uid
		g, err := unix.SetfsgidRetGid(-1)
		if g != 1338 {
			t.Errorf("fsgid %d, want 1338", g)
		}
		return err
	})
	if err != nil || owner != 1337 {
		t.Errorf("the socket's owner is %d, want 1337 (%v)", owner, err)
	}
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	own.Do(func() error {
		if u, _ := unix.SetfsuidRetUid(-1); u != 0 {
			t.Errorf("a later thread has fsuid %d", u)
		}
		return nil
	})
}

// Who is in a namespace is told by the kernel, also of a process whose link may not be
// followed. The tests' own namespace is that of pid 1 unless somebody unshared it.
func TestHas(t *testing.T) {
	_, s := made(t, "has")
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for _, pid := range []int{os.Getpid(), 1} {
		if in, err := s.Has(pid); err != nil || in {
			t.Errorf("pid %d is in a fresh namespace: %v, %v", pid, in, err)
		}
	}
	if in, err := own.Has(os.Getpid()); err != nil || !in {
		t.Errorf("not in the own namespace: %v, %v", in, err)
	}
	if _, err := s.Has(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("a process that is not there: %v", err)
	}
}
