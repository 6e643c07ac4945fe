// Constants of Linux that the headers of older distributions lack. They are stable kernel
// interface. A kernel that does not know one refuses it with ENOPROTOOPT or EINVAL, and every use
// of a constant handles that.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59  // Linux 4.13
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76  // Linux 6.5
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // Linux 6.16
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3
#endif

namespace criu_service {

// SCM_MAX_FD of the kernel's include/net/scm.h: the most descriptors that one packet can carry.
constexpr int kMaxPacketFds = 253;

// glibc has P_PIDFD as an enumerator since 2.35; older versions lack it. The value is 3 since Linux
// 5.4, see waitid(2).
constexpr idtype_t kWaitByPidfd = static_cast<idtype_t>(3);

}  // namespace criu_service
