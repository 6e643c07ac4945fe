// The things that processes hold: descriptors, mappings, the working directory, the program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "caller_access.h"

namespace criu_service {

// Value of fields that were not filled in.
constexpr int kUnknown = -2;

// A file or kernel object that a process holds. binding.ts explains each field.
struct Holding {
  Holding(pid_t holder, std::string what, std::string mode = {})
      : pid(holder), name(std::move(what)), access(std::move(mode)) {}

  pid_t pid;
  std::string name;
  std::string access;
  std::string target;
  uint64_t queued = 0;
  // An errno. If it is set, the fields below were not read.
  int failure = 0;
  std::optional<FileIdentity> file;
  int64_t owner = kUnknown;
  uint64_t mount = 0;
  uint64_t magic = 0;
  int64_t fuse_owner = kUnknown;
  // The kernel's answers to the caller.
  int path = kUnknown;
  int process = kUnknown;
};

// Reads on a thread that may be lost, because a link of /proc may lead into a file system that
// answers slowly.
class HoldingsReader {
 public:
  // Reads the holdings of all threads of a process. An unreadable thing becomes a holding with a
  // failure.
  void ReadProcess(pid_t pid);
  // The calling thread must have become the caller.
  void AskAsCaller();
  // 0, or an errno if the tree holds too many things.
  int Failure() const { return failure_; }
  const std::vector<Holding>& Holdings() const { return holdings_; }
  // Id of the mount at /proc.
  uint64_t ProcMount() const { return proc_mount_; }
  void FindProcMount();

 private:
  void ReadDescriptors(pid_t pid, const std::string& thread);
  void ReadMappings(pid_t pid, const std::string& thread);
  static void ReadMode(int directory, const std::string& link, Holding* holding);
  void Describe(int directory, const std::string& link, Holding* holding);
  int ReadMagic(int directory, const std::string& link, uint64_t mount, uint64_t* magic);
  int64_t FuseOwnerOf(uint64_t mount);
  void AddFailure(pid_t pid, const std::string& name, int failure);
  void Add(Holding&& holding);

  std::vector<Holding> holdings_;
  std::set<std::string> seen_;
  std::map<uint64_t, uint64_t> magics_;
  std::optional<std::map<uint64_t, int64_t>> fuse_owners_;
  uint64_t proc_mount_ = 0;
  size_t bytes_ = 0;
  int failure_ = 0;
};

}  // namespace criu_service
