// Package debian keeps unpacked Debian packages in a cache: kernels to boot and busybox to put beside them.
//
// # Place
//
// Below [usui/internal/guestimage] and [usui/internal/lab]. It never installs anything on the host.
//
// # Idea
//
// apt fetches and verifies: its signed index says which version of a package is the newest and what its bytes must hash to, and
// a well-kept tool beats code of our own. A [Cache] gives apt an index and a cache folder of its own, so that a foreign
// architecture works like the host's own, no root is needed and nothing of the system changes. A package that is in the cache is
// used as it is, without apt and without a network; only with Config.Refresh a newer one is looked for.
//
// The cache folder, $XDG_CACHE_HOME/usui or ~/.cache/usui, holds:
//
//	debian/ARCH/PACKAGE_VERSION/     an unpacked package (for a kernel with modules.dep)
//	debian/ARCH/NAME                 a symbolic link to the package that NAME stands for: metapackages name a kernel this way
//	debian/ARCH/lock, partial-*      one fetch at a time, and what it is working on
//	apt/ARCH/                        apt's index
//
// # Invariants
//
//   - A package folder under its final name is complete: it is unpacked beside and renamed.
//   - A name in the cache is found without a write, without a lock, and without a network; a read-only cache serves.
//   - One process at a time fetches for an architecture; what an earlier one left half-done is removed by the next.
//   - No version and no hash is written in the source: the mirror deletes old versions.
//
// # Locks
//
// debian/ARCH/lock is taken with flock(2) around a fetch, and nothing else is waited for while it is held but apt and dpkg-deb.
//
// # Limits
//
// Needs apt and dpkg-deb to fetch: on a system that is no Debian, bring a kernel with --kernel instead.
package debian
