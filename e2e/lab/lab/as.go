package lab

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect/netns"
)

// as runs f in a namespace as another user: what a socket's owner is, is the fsuid and fsgid
// of the thread that makes it (xt_owner looks at the file's f_cred, nft_meta likewise).
func as(s *netns.Space, uid, gid uint32, f func() error) error {
	return s.Do(func() error {
		if uid == 0 && gid == 0 {
			return f()
		}
		defer func() {
			if !become(0, 0) {
				runtime.LockOSThread() // once more than is undone: the thread ends with its goroutine
			}
		}()
		if !become(uid, gid) {
			return fmt.Errorf("become uid %d gid %d: not permitted", uid, gid)
		}
		return f()
	})
}

// become sets this thread's fsuid and fsgid. The calls report the old value and no error
// (setfsuid(2)), so they are asked again whether it worked.
func become(uid, gid uint32) bool {
	unix.SetfsgidRetGid(int(gid))
	unix.SetfsuidRetUid(int(uid))
	g, _ := unix.SetfsgidRetGid(-1)
	u, _ := unix.SetfsuidRetUid(-1)
	return uint32(g) == gid && uint32(u) == uid
}
