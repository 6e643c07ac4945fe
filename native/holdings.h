// What processes hold: descriptors, mappings, the working directory, the program.
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

// Fields that nobody has filled in.
constexpr int kUnknown = -2;

// One file, or object of the kernel's, that a process holds; binding.ts says what each field means.
struct Holding {
  Holding(pid_t holder, std::string what, std::string mode = {})
      : pid(holder), name(std::move(what)), access(std::move(mode)) {}

  pid_t pid;
  std::string name;
  std::string access;
  std::string target;
  uint64_t queued = 0;
  // An errno: what is below was not read.
  int failure = 0;
  std::optional<FileIdentity> file;
  int64_t owner = kUnknown;
  uint64_t mount = 0;
  uint64_t magic = 0;
  int64_t fuse_owner = kUnknown;
  // What the caller is told.
  int path = kUnknown;
  int process = kUnknown;
};

// Reads on a thread that may be lost: a file system behind a link of /proc may be asked something.
class HoldingsReader {
 public:
  // What all threads of a process hold. What cannot be read is a holding with a failure.
  void ReadProcess(pid_t pid);
  // The reader must have become the caller.
  void AskAsCaller();
  // 0, or an errno when there is more than anybody needs.
  int Failure() const { return failure_; }
  const std::vector<Holding>& Holdings() const { return holdings_; }
  // The id of the mount at /proc.
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
