/-
Checks theorems one by one for as long as standard input lasts.

A request is one line of JSON: {"id", "source", "maxHeartbeats", "forbid": [..]}. The answer is one
line, `@verl-pi ` and JSON: {"id", "parsed", "errors": [..], "sorry", "axioms": [..], "refused"}.
Every theorem is elaborated in the same base environment (Lean's default prelude) and the result is
thrown away, so nothing passes from one to the next.

The loop runs inside the elaboration of this file, since this build of Lean cannot call `main`. It
writes to the device and not to the standard stream, which the elaborator keeps to itself.
-/
import Lean

open Lean Elab

set_option maxHeartbeats 0
set_option maxRecDepth 100000
set_option Elab.async false

namespace VerlPi

/-- The axioms that mathematics in Lean rests on. -/
def allowedAxioms : List Name := [``propext, ``Quot.sound, ``Classical.choice]

/-- Axioms that assert whatever is asked of them: `sorry`, and results of compiled code. -/
def deniedAxioms : List Name :=
  [``sorryAx, ``Lean.ofReduceBool, ``Lean.ofReduceNat, ``Lean.trustCompiler, `lcProof, `lcUnreachable,
   `lcAny, `lcErased]

/-- Syntax that runs code at elaboration time, or changes how checking is done. -/
def deniedKinds : List Name :=
  [`Lean.Parser.Tactic.nativeDecide, `Lean.Parser.Tactic.runTac, `Lean.Parser.Term.byElab,
   `Lean.runTacTerm, `Lean.Parser.Term.«set_option», `Lean.Parser.Tactic.set_option,
   `Lean.includeStr, `Lean.Parser.Term.attributes, `Lean.Parser.Term.unsafe]

/-! This build ships no compiled specialisations of the library's polymorphic functions, so code
that is compiled here, as this file is, cannot call most of `List` and `Array`: the helpers are
written out for the types at hand. -/

def memberOf (name : Name) : List Name → Bool
  | [] => false
  | head :: tail => head == name || memberOf name tail

def andThen (first : List Name) (second : List Name) : List Name :=
  match first with
  | [] => second
  | head :: tail => head :: andThen tail second

partial def namesFrom (names : Array Name) (index : Nat) (rest : List Name) : List Name :=
  if index < names.size then namesFrom names (index + 1) (names[index]! :: rest) else rest

def nameText (name : Name) : BaseIO String := (MessageData.ofName name).toString

mutual
  /-- The first node of `stx` whose kind is denied, `anonymous` if there is none. -/
  partial def findDenied (denied : List Name) (stx : Syntax) : Name :=
    if memberOf stx.getKind denied then stx.getKind else findDeniedIn denied stx.getArgs 0

  partial def findDeniedIn (denied : List Name) (parts : Array Syntax) (index : Nat) : Name :=
    if index < parts.size then
      let found := findDenied denied parts[index]!
      if found.isAnonymous then findDeniedIn denied parts (index + 1) else found
    else .anonymous
end

/-- Constants of the new declarations that are on the list `todo` or that those rest on, each
visited once, and the axioms among them. A constant of the base environment counts only by its name:
a theorem's proof is not stored there and looks like an axiom. -/
partial def axiomsOf (base env : Environment) (todo : List Name) (seen : NameSet)
    (found : List Name) : List Name :=
  match todo with
  | [] => found
  | name :: rest =>
    if seen.contains name then axiomsOf base env rest seen found
    else
      let seen := seen.insert name
      if base.contains name then
        if memberOf name deniedAxioms || memberOf name allowedAxioms
        then axiomsOf base env rest seen (name :: found) else axiomsOf base env rest seen found
      else match env.find? name with
        | none => axiomsOf base env rest seen found
        | some info =>
          let found := if info.isAxiom || info.isUnsafe || info.isPartial
            then name :: found else found
          let rest := namesFrom info.type.getUsedConstants 0 rest
          match info.value? (allowOpaque := true) with
          | some value => axiomsOf base env (namesFrom value.getUsedConstants 0 rest) seen found
          | none => axiomsOf base env rest seen found

def errorJson (line column : Nat) (text : String) : Json :=
  Json.mkObj [("line", Json.num line), ("column", Json.num column), ("text", Json.str text)]

partial def errorsFrom (messages : Array Message) (index : Nat) (found : Array Json) :
    BaseIO (Array Json) := do
  match messages[index]? with
  | none => return found
  | some msg => match msg.severity with
    | .error =>
      let text ← msg.data.toString
      errorsFrom messages (index + 1) (found.push (errorJson msg.pos.line msg.pos.column text))
    | _ => errorsFrom messages (index + 1) found

def errorsOf (log : MessageLog) : BaseIO (Array Json) :=
  errorsFrom log.toArray 0 #[]

partial def namesJson (names : List Name) (found : Array Json) : BaseIO (Array Json) := do
  match names with
  | [] => return found
  | name :: rest => namesJson rest (found.push (Json.str (← nameText name)))

def answer (id : String) (parsed : Bool) (errors : Array Json) (axioms : List Name)
    (refused : String) : BaseIO Json := do
  let axioms ← namesJson axioms #[]
  return Json.mkObj [("id", Json.str id), ("parsed", Json.bool parsed),
    ("errors", Json.arr errors), ("axioms", Json.arr axioms), ("refused", Json.str refused)]

partial def hasModifiers (parts : Array Syntax) (index : Nat) : Bool :=
  if index < parts.size then parts[index]!.getNumArgs > 0 || hasModifiers parts (index + 1)
  else false

/-- Why a command is not one that may be checked, or the empty text. -/
def refusal (stx next : Syntax) (denied : List Name) : BaseIO String := do
  if !stx.isOfKind ``Parser.Command.declaration || !stx[1].isOfKind ``Parser.Command.theorem then
    return "a theorem is expected, not " ++ (← nameText stx.getKind)
  if hasModifiers stx[0].getArgs 0 then
    return "a theorem may have no modifiers or attributes"
  if !Parser.isTerminalCommand next then
    return "there is more than one command"
  let found := findDenied denied stx
  if found.isAnonymous then return ""
  return (← nameText found) ++ " is not allowed"

def declaredName (stx : Syntax) : Name := stx[1][1][0].getId

def isTheorem (env : Environment) (name : Name) : Bool :=
  match env.find? name with
  | some (.thmInfo _) => true
  | _ => false

def elaborate (base : Environment) (fileMap : FileMap) (stx : Syntax) (log : MessageLog)
    (opts : Options) : EIO Exception Command.State := do
  let context : Command.Context :=
    { fileName := "theorem.lean", fileMap, snap? := none, cancelTk? := none }
  let (_, final) ← (Command.elabCommandTopLevel stx context).run (Command.mkState base log opts)
  return final

def check (base : Environment) (id source : String) (heartbeats : Nat) (denied : List Name) :
    BaseIO Json := do
  let opts : Options := KVMap.setNat {} `maxHeartbeats heartbeats
  let opts := KVMap.setBool opts `Elab.async false
  let opts := KVMap.setBool opts `linter.all false
  let input : Parser.InputContext :=
    { inputString := source, fileName := "theorem.lean", fileMap := FileMap.ofString source,
      endPos := source.rawEndPos, endPos_valid := by simp }
  let scope : Parser.ParserModuleContext := { env := base, options := opts }
  let (stx, state, log) := Parser.parseCommand input scope {} {}
  if log.hasErrors then
    return ← answer id false (← errorsOf log) [] ""
  let (next, _, log) := Parser.parseCommand input scope state log
  let why ← refusal stx next denied
  if log.hasErrors || why != "" then
    return ← answer id (!log.hasErrors) (← errorsOf log) [] why
  match ← (elaborate base input.fileMap stx log opts).toBaseIO with
  | .error err =>
    answer id true #[errorJson 1 0 (← err.toMessageData.toString)] [] ""
  | .ok final =>
    let errors ← errorsOf final.messages
    let name := declaredName stx
    let axioms := axiomsOf base final.env [name] {} []
    let why := if errors.size == 0 && !isTheorem final.env name
      then "the theorem was not added to the environment" else ""
    answer id true errors axioms why

def textOf (request : Json) (key : String) : String :=
  match request.getObjVal? key with
  | .ok (.str text) => text
  | _ => ""

def natOf (request : Json) (key : String) : Nat :=
  match request.getObjVal? key with
  | .ok (.num number) => number.mantissa.toNat
  | _ => 0

partial def forbiddenFrom (parts : Array Json) (index : Nat) (names : List Name) : List Name :=
  if index < parts.size then
    match parts[index]! with
    | .str text => forbiddenFrom parts (index + 1) (text.toName :: names)
    | _ => forbiddenFrom parts (index + 1) names
  else names

def forbidden (request : Json) : List Name :=
  match request.getObjVal? "forbid" with
  | .ok (.arr parts) => forbiddenFrom parts 0 deniedKinds
  | _ => deniedKinds

def serve (base : Environment) (line : String) : BaseIO Json := do
  match Json.parse line with
  | .error err => answer "" false #[] [] ("not JSON: " ++ err)
  | .ok request =>
    check base (textOf request "id") (textOf request "source") (natOf request "maxHeartbeats")
      (forbidden request)

partial def loop (base : Environment) (input output : IO.FS.Handle) : IO Unit := do
  let line ← input.getLine
  if line.isEmpty then return
  let json ← serve base line
  output.putStrLn ("@verl-pi " ++ json.compress)
  output.flush
  loop base input output

end VerlPi

run_cmd do
  let output ← IO.FS.Handle.mk "/dev/stdout" .write
  let input ← IO.FS.Handle.mk "/dev/stdin" .read
  let base ← importModules (loadExts := true) #[{ module := `Init }] {} 0
  output.putStrLn ("@verl-pi " ++ (Json.mkObj [("id", Json.str "ready"),
    ("version", Json.str Lean.versionString)]).compress)
  output.flush
  VerlPi.loop base input output
