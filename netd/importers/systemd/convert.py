"""From socket units of systemd to services of netd."""

from netd.importers import validity
from netd.importers.account import Account, Place
from netd.importers.document import Document, Service
from netd.importers.host import Host
from netd.importers.systemd.case import Case
from netd.importers.systemd.files import DIRECTORIES, UnitFiles
from netd.importers.systemd.programs import put_program
from netd.importers.systemd.sockets import put_socket
from netd.importers.systemd.units import Unit, switch


def convert(units: list[str], account: Account, host: Host, directories: tuple[str, ...] = DIRECTORIES) -> Document:
    """The services of socket units, by name or path; those that systemd starts for them are looked for beside them.

    Raises ConfigError if a unit does not exist or cannot be read.
    """
    document = Document()
    names = " ".join(argument.rpartition("/")[2] for argument in units)
    document.heading += [f"Imported from {', '.join(units)}.", f"Stop these first: systemctl disable --now {names}"]
    files = UnitFiles(directories)
    for argument in units:
        socket, places = files.socket(argument)
        _add(document, socket, files, places, account, host)
    return document


def _add(
    document: Document, socket: Unit, files: UnitFiles, places: tuple[str, ...], account: Account, host: Host
) -> None:
    first = socket.directives[0].place if socket.directives else Place(socket.name)
    service = Service(socket.name.removesuffix(".socket"), Place(first.file))
    accepts = _accepts(socket)
    name = _name_of_program(socket, accepts=accepts)
    unit = _program(name, files, places)
    fault = f"there is no unit {name} that it could start"
    if unit is not None:
        case = Case(socket, service, account, host, unit, accepts)
        for key in ("Accept", "Service"):
            if directive := socket.last("Socket", key):
                case.take(directive)
        service.put("exec", "type")
        put_socket(case)
        put_program(case, unit)
        if not accepts:
            _check_one_socket(case)
        case.tell_rest()
        fault = _fault(case)
    if fault:
        account.left_out(service.place, socket.name, fault)
        document.closing += [*service.comments, f"not imported: {socket.name}"]
        return
    if service.enabled and (other := document.conflict(service)):
        reason = f"{other.name} has an address of it already"
        account.left_out(service.place, socket.name, f"{reason}; so the service is off")
        service.switch_off(reason)
    if note := document.add(service):
        account.note(service.place, socket.name, note)


def _accepts(socket: Unit) -> bool:
    """Accept=, which systemd ignores where it is no boolean."""
    try:
        return switch(socket.value("Socket", "Accept", "no"))
    except ValueError:
        return False


def _name_of_program(socket: Unit, *, accepts: bool) -> str:
    name = socket.name.removesuffix(".socket")
    return f"{name}@.service" if accepts else socket.value("Socket", "Service", f"{name}.service")


def _program(name: str, files: UnitFiles, places: tuple[str, ...]) -> Unit | None:
    """The unit of this name; an instance has the files of its template."""
    found = files.unit(name, places)
    prefix, is_instance, _ = name.partition("@")
    if found is None and is_instance and name.endswith(".service"):
        found = files.unit(f"{prefix}@.service", places)
        if found:
            found.name = name
    return found


def _check_one_socket(case: Case) -> None:
    """A program that has the listening socket of a netd gets one."""
    if len(case.service.get("listen") or ()) > 1:
        case.off("the daemon takes several sockets, and netd passes one to each program; keep the unit")
    named = case.socket.last("Socket", "FileDescriptorName")
    if named:
        case.note(named, f"the descriptor is named {case.service.name} in netd")


def _fault(case: Case) -> str:
    if not case.service.get("listen"):
        return "there is nothing on which netd can listen"
    if not case.service.get("options", "command"):
        return "there is no command that netd can run"
    fault = validity.fault(case.service)
    return fault and f"netd cannot have it: {fault}"
