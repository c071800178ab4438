"""Small changes to the published `lean.js`, applied when Lean is installed.

As published the file takes 90 s of processor time to start and reads the whole of /home and /tmp.
Each change names what it replaces; a text that is not there exactly once is an error, and the
result has to have the pinned hash.
"""

from __future__ import annotations

import hashlib

_SYMBOL_TABLES = (
    "var verlPiTables=new WeakMap;"
    "var verlPiSymbols=table=>{var known=verlPiTables.get(table);if(!known){"
    "var names=Object.keys(table);"
    "known={names:names,index:new Map(names.map((name,i)=>[name,i]))};"
    "verlPiTables.set(table,known)}return known};"
)

#: (why, text in the published file, its replacement)
PATCHES: tuple[tuple[str, str, str], ...] = (
    (
        "a table of symbols, built once",
        "var __dlsym_catchup_js=",
        _SYMBOL_TABLES + "var __dlsym_catchup_js=",
    ),
    (
        "look a symbol up in that table, not by a search among 200,000 names",
        "newSymIndex=Object.keys(lib.exports).indexOf(symbol);",
        "newSymIndex=verlPiSymbols(lib.exports).index.get(symbol)??-1;",
    ),
    (
        "the same in the other direction",
        "var symName=Object.keys(symDict)[symbolIndex];",
        "var symName=verlPiSymbols(symDict).names[symbolIndex];",
    ),
    (
        "Lean sees its own folder, and a folder of the caller's choice, instead of /home and /tmp",
        'FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");',
        'FS.mkdir("/lean");FS.mount(NODEFS,{root:require("path").dirname(__dirname)},"/lean");'
        'var files=process.env["VERL_PI_LEAN_FILES"];'
        'if(files){FS.mkdir("/files");FS.mount(NODEFS,{root:files},"/files")}',
    ),
    (
        "start in a folder in memory: this build writes a profile to where it is when it ends",
        'var cwd=process.cwd();if(cwd.startsWith("/private/tmp/")){'
        'cwd=cwd.replace("/private/tmp/","/tmp/")}'
        'else if(cwd==="/private/tmp"){cwd="/tmp"}FS.chdir(cwd)',
        'FS.chdir("/tmp")',
    ),
    (
        "the program's name inside that folder",
        'thisProgram=process.argv[1].replace(/\\\\/g,"/")',
        'thisProgram="/lean/bin/lean.js"',
    ),
    (
        "the library is looked for beside the program",
        "if(isNode){path=__filename}",
        'if(isNode){path="/lean/bin/lean.js"}',
    ),
    (
        "four threads that stand idle cost 2 GB and half of the start",
        "var pthreadPoolSize=4;",
        "var pthreadPoolSize=0;",
    ),
    (
        "a read returns at the end of a line, so that requests can be answered one by one",
        "try{result=stream.tty.ops.get_char(stream.tty)}catch(e){throw new FS.ErrnoError(29)}"
        "if(result===undefined&&bytesRead===0){throw new FS.ErrnoError(6)}"
        "if(result===null||result===undefined)break;bytesRead++;buffer[offset+i]=result}",
        "try{result=stream.tty.ops.get_char(stream.tty)}catch(e){throw new FS.ErrnoError(29)}"
        "if(result===undefined&&bytesRead===0){throw new FS.ErrnoError(6)}"
        "if(result===null||result===undefined)break;bytesRead++;buffer[offset+i]=result;"
        "if(result===10)break}",
    ),
    (
        "long requests arrive in large pieces",
        "var BUFSIZE=256;var buf=Buffer.alloc(BUFSIZE);var bytesRead=0;var fd=process.stdin.fd;",
        "var BUFSIZE=65536;var buf=Buffer.alloc(BUFSIZE);var bytesRead=0;var fd=0;",
    ),
    (
        "bytes as they come: a character of several bytes may lie across two pieces",
        'result=buf.slice(0,bytesRead).toString("utf-8")',
        "FS_stdin_getChar_buffer=Array.from(buf.subarray(0,bytesRead)).reverse();"
        "return FS_stdin_getChar_buffer.pop()",
    ),
    (
        "hand the piece out without moving the rest for every byte",
        "return FS_stdin_getChar_buffer.shift()};",
        "return FS_stdin_getChar_buffer.pop()};",
    ),
)

PUBLISHED_SHA256 = "0baaafd5d088d288ec44ff57d5ced4146e95ff6ba975c19787fcfcd26f89f87d"
PATCHED_SHA256 = "b6122a1a6375eab97243aa1e49c69d4e1c0df6f3de41986a9f59bb58e101242d"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def apply(published: bytes) -> bytes:
    """Return the patched file. Raises ValueError, naming the patch, if the file is another one."""
    if sha256(published) != PUBLISHED_SHA256:
        raise ValueError("lean.js is not the file that the patches were written for")
    text = published
    for why, old, new in PATCHES:
        if text.count(old.encode()) != 1:
            raise ValueError(f"lean.js: the place to change for {why!r} is not there exactly once")
        text = text.replace(old.encode(), new.encode())
    if sha256(text) != PATCHED_SHA256:
        raise ValueError(f"patched lean.js has sha256 {sha256(text)}, not {PATCHED_SHA256}")
    return text
