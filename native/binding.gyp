{
  "variables": {
    # node-gyp rebuild --sanitize=1 builds for AddressSanitizer and UBSan.
    "sanitize%": 0,
    # node-gyp rebuild --werror=0 is for whoever packages this with a compiler that we have not seen.
    "werror%": 1,
  },
  "targets": [
    {
      "target_name": "criu_service",
      "sources": [
        "addon.cc",
        "args.cc",
        "caller_access.cc",
        "closer.cc",
        "descriptors.cc",
        "elsewhere.cc",
        "ended.cc",
        "endpoint.cc",
        "error.cc",
        "exit.cc",
        "fd.cc",
        "held.cc",
        "holdings.cc",
        "holders.cc",
        "identity.cc",
        "journal.cc",
        "locks.cc",
        "look.cc",
        "open_file.cc",
        "packet.cc",
        "peer.cc",
        "peers_end.cc",
        "poll.cc",
        "process.cc",
        "reader.cc",
        "rename.cc",
        "scope.cc",
        "socket.cc",
        "spawn.cc",
        "systemd.cc",
        "terminal.cc",
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # Node-API 8 (Node 12.22, 14.17, 15.12) and nothing of V8: one binary serves every later Node.
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS_ALL", "_GNU_SOURCE"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++1y"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong",
        "<!@(pkg-config --cflags libsystemd)",
      ],
      # GCC 12 and 13 see an overlap in std::string's operator+ that is not there (GCC bug 105329).
      "cflags_cc": ["-std=c++20", "-fexceptions", "-Wno-restrict", "-Wno-unknown-warning-option"],
      "ldflags": ["-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"],
      "libraries": ["<!@(pkg-config --libs libsystemd)"],
      "conditions": [
        ["werror==1", {"cflags": ["-Werror"]}],
        ["sanitize==1", {
          "cflags": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1"],
          "ldflags": ["-fsanitize=address,undefined"],
        }, {
          # Fortified calls and the sanitizers' interceptors do not go together.
          "cflags": ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
        }],
      ],
    },
    {
      # The program that becomes the caller. Nothing of Node is in it, and no library but libc.
      "target_name": "criu-launcher",
      "type": "executable",
      "sources": [
        "launcher/birth.cc",
        "launcher/clocks.cc",
        "launcher/files.cc",
        "launcher/identity.cc",
        "launcher/inherited.cc",
        "launcher/launcher.cc",
        "launcher/parameters.cc",
        "launcher/report.cc",
        "launcher/traits.cc",
      ],
      "defines": ["_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
      "cflags!": ["-fPIC"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y", "-std=gnu++20"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        "-fPIE", "-fvisibility=hidden", "-fstack-protector-strong",
      ],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      # Node exports an executable's symbols to its addons; this one has none to offer.
      "ldflags!": ["-rdynamic"],
      "ldflags": ["-pie", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"],
      "conditions": [
        ["werror==1", {"cflags": ["-Werror"]}],
        ["sanitize==1", {
          "cflags": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"],
          "ldflags": ["-fsanitize=address,undefined"],
        }, {
          "cflags": ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
        }],
      ],
    },
    {
      # Makes the processes of a tree name an engine as their tracer (Yama). No library but libc.
      "target_name": "criu-grant",
      "type": "executable",
      "sources": [
        "grant/call.cc",
        "grant/consent.cc",
        "grant/grant.cc",
        "grant/maps.cc",
        "grant/report.cc",
        "grant/task.cc",
      ],
      "defines": ["_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
      "cflags!": ["-fPIC"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y", "-std=gnu++20"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        "-fPIE", "-fvisibility=hidden", "-fstack-protector-strong",
      ],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      "ldflags!": ["-rdynamic"],
      "ldflags": ["-pie", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"],
      "conditions": [
        ["werror==1", {"cflags": ["-Werror"]}],
        ["sanitize==1", {
          "cflags": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"],
          "ldflags": ["-fsanitize=address,undefined"],
        }, {
          "cflags": ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
        }],
      ],
    },
    {
      # The program of criu-pids.service.
      "target_name": "criu-pids",
      "type": "executable",
      "sources": ["pids/pids.cc"],
      "defines": ["_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
      "cflags!": ["-fPIC"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y", "-std=gnu++20"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        "-fPIE", "-fvisibility=hidden", "-fstack-protector-strong",
      ],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      "ldflags!": ["-rdynamic"],
      "ldflags": ["-pie", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"],
      "conditions": [["werror==1", {"cflags": ["-Werror"]}]],
    },
    {
      # The holder of the lock of a job in the foreground.
      "target_name": "criu-job-claim",
      "type": "executable",
      "sources": ["job-claim/job-claim.cc"],
      "defines": ["_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
      "cflags!": ["-fPIC"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y", "-std=gnu++20"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        "-fPIE", "-fvisibility=hidden", "-fstack-protector-strong",
      ],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      "ldflags!": ["-rdynamic"],
      "ldflags": ["-pie", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"],
      "conditions": [["werror==1", {"cflags": ["-Werror"]}]],
    },
    {
      # The root of a job's tree. It is copied into each job and runs there for as long as the job does, so it is small: no libc.
      "target_name": "criu-job-root",
      "type": "executable",
      "sources": ["job-root/job-root.cc"],
      "cflags!": ["-fPIC", "-pthread"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y", "-std=gnu++20"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        # Without libc there is no canary, and no loader that would relocate it.
        "-ffreestanding", "-fno-pie", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-fcf-protection=none",
        "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-Os",
      ],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      "ldflags!": ["-rdynamic", "-pthread"],
      "ldflags": ["-static", "-nostdlib", "-no-pie", "-Wl,-z,noexecstack", "-Wl,--build-id=sha1"],
      "libraries!": ["-lstdc++", "-lm"],
      "conditions": [["werror==1", {"cflags": ["-Werror"]}]],
    },
    {
      # What CRIU is run with as an engine of a user without root. It takes the place of functions of libc.
      "target_name": "criu-engine-preload",
      "type": "loadable_module",
      "sources": ["engine-preload/preload.cc"],
      # libc has each function twice, as open and as open64; so does this.
      "defines!": ["_FILE_OFFSET_BITS=64"],
      "defines": ["_GNU_SOURCE"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++1y", "-std=gnu++20"],
      "cflags": [
        "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
        "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong",
      ],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti"],
      "ldflags": ["-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"],
      "conditions": [["werror==1", {"cflags": ["-Werror"]}]],
    },
  ],
}
