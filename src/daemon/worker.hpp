// The worker: opens and locks the images, runs the engine and answers the kernel. Started by the guardian
// with five descriptors at fixed numbers. Before it opens an image it goes into the sandbox; files come over
// the file channel (file_source.hpp).
//
//   guardian -> worker   serve {attach order}, or take_over {attach order} after the death of a predecessor,
//   or adopt {attach order}
//                        after one that retired, where the kernel can't deliver requests again
//   guardian -> worker   server {geometry} + descriptor   ublk only: what to serve on; released instead:
//   nothing any more, close the images worker -> guardian   sandbox {parts}, then worker -> guardian   ready
//   {device state as far as the worker knows it}   or   error {...} guardian -> worker   attached {device
//   state} worker -> guardian   detach worker -> guardian   chain {levels, commit point}      guardian ->
//   worker   state {device state}, chain {error?} worker -> guardian   resize {sectors} guardian -> worker
//   resized {error?} worker -> guardian   lent {level}, returned            guardian -> worker   lent
//   {level}, before the order of a successor guardian -> worker   retire                            worker ->
//   guardian   occupied {name of the operation}, unable, or it
//                                                                               ends with kRetiredStatus
//   guardian -> worker   stay: the guardian has thought better of it
//   guardian -> worker   releasing, then   busy   or   released {error?}
//
// It ends when the kernel says that the connection is over (after "released"), having committed and closed
// the images.
#pragma once

namespace ploop::daemon {

inline constexpr int kFirstWorkerFd = 3;
inline constexpr int kGuardianFd = 3;       ///< Channel
inline constexpr int kTransportFd = 4;      ///< /dev/fuse; nothing for ublk, whose file comes with "server"
inline constexpr int kMapFd = 5;            ///< the live map's file
inline constexpr int kControlSocketFd = 6;  ///< listening
inline constexpr int kFilesFd = 7;          ///< Channel
inline constexpr int kWorkerFds = 5;

/// Exit status of a worker that was told to retire: no request is in progress, and the live map is for a
/// successor to take over.
inline constexpr int kRetiredStatus = 90;

/// The whole life of the worker process. The result is its exit status.
int run_worker();

}  // namespace ploop::daemon
