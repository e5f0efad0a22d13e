//go:build !linux

package netns

// Space is an open network namespace; there is none on this system.
type Space struct{}

// Named opens the namespace of that name: ErrSystem here.
func Named(string) (*Space, error) { return nil, ErrSystem }

// OfPid opens the namespace of a process: ErrSystem here.
func OfPid(int) (*Space, error) { return nil, ErrSystem }

// Own opens the namespace of this process: ErrSystem here.
func Own() (*Space, error) { return nil, ErrSystem }

// ID is the namespace's number.
func (s *Space) ID() uint64 { return 0 }

// Has says whether process pid is in the namespace: ErrSystem here.
func (s *Space) Has(int) (bool, error) { return false, ErrSystem }

// Own says whether it is the namespace of this process.
func (s *Space) Own() bool { return false }

// Path is a name of the namespace for another program.
func (s *Space) Path() string { return "" }

// Close gives the namespace up.
func (s *Space) Close() error { return nil }

// Do runs f in the namespace: ErrSystem here.
func (s *Space) Do(func() error) error { return ErrSystem }

// DoAs runs f in the namespace as another user: ErrSystem here.
func (s *Space) DoAs(_, _ uint32, _ func() error) error { return ErrSystem }

// MachinePIDs says whether process 1 is the machine's: it is here.
func MachinePIDs() bool { return true }
