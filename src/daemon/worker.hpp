// The worker: opens and locks the images, runs the engine and answers the kernel. Started by the guardian with four
// descriptors at fixed numbers.
//
//   guardian -> worker   serve {attach order}, or take_over {attach order} after the death of a predecessor
//   worker -> guardian   ready {device state as far as the worker knows it}   or   error {...}
//   guardian -> worker   attached {device state}
//   worker -> guardian   detach
//   worker -> guardian   chain {levels, commit point}      guardian -> worker   state {device state}, chain {error?}
//   worker -> guardian   resize                            guardian -> worker   resized {error?}
//   guardian -> worker   releasing, then   busy   or   released {error?}
//
// It ends when the kernel says that the connection is over (after "released"), having committed and closed the images.
#pragma once

namespace ploop::daemon {

inline constexpr int kFirstWorkerFd = 3;
inline constexpr int kGuardianFd = 3;       ///< Channel
inline constexpr int kFuseFd = 4;           ///< /dev/fuse
inline constexpr int kMapFd = 5;            ///< the live map's file
inline constexpr int kControlSocketFd = 6;  ///< listening
inline constexpr int kWorkerFds = 4;

/// The whole life of the worker process. The result is its exit status.
int run_worker();

}  // namespace ploop::daemon
