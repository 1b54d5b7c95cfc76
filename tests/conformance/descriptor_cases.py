"""Descriptors with one defect each, and valid variations: edits of the two examples, (old, new) pairs of text."""

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GIB = 2**30

Edit = tuple[str, str]
Case = tuple[str, str, tuple[Edit, ...]]  # name, example, edits


def text_of(example: str, *edits: Edit) -> str:
    """An example's descriptor, its placeholders filled in and the edits made, each of which has to find its place."""
    text = (EXAMPLES / example / f"{example}.ovf").read_text(encoding="utf-8")
    text = text.replace("{size}", "327680").replace("{capacity}", str(2 * GIB))
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def item(name: str, kind: int, more: str = "", attributes: str = "", instance: str = "90") -> str:
    """A hardware item, its properties in order; more stands where HostResource does."""
    return (
        f"<ovf:Item{attributes}><rasd:ElementName>{name}</rasd:ElementName>{more}"
        f"<rasd:InstanceID>{instance}</rasd:InstanceID><rasd:ResourceType>{kind}</rasd:ResourceType></ovf:Item>"
    )


def more_hardware(extra: str) -> Edit:
    return ("    </ovf:VirtualHardwareSection>", extra + "</ovf:VirtualHardwareSection>")


def more_sections(extra: str) -> Edit:
    return ("    <!-- What OVF has no words for. -->", extra)


def more_properties(extra: str) -> Edit:
    return ("    </racs:ApplicationSection>", extra + "</racs:ApplicationSection>")


def storage(*mounts: str) -> Edit:
    return ("      <!-- The app lets", f"<racs:Storage>{''.join(mounts)}</racs:Storage>\n<!-- The app lets")


def mount(path: str, capacity: str, unit: str) -> str:
    return f'<racs:Mount path="{path}" capacity="{capacity}" unit="{unit}"/>'


def firewall(protocol: str, port: str, network: str) -> Edit:
    allow = f'<racs:Allow protocol="{protocol}" port="{port}" network="{network}"/>'
    return ("      <!-- The app lets", f"<racs:Firewall>{allow}</racs:Firewall>\n<!-- The app lets")


FORWARD = '<racs:Forward protocol="tcp" from="29001" to="22"/>'
UDP7, TCP7 = '<racs:Service protocol="udp" port="7"/>', '<racs:Service protocol="tcp" port="7"/>'
UPLINK = "4==ip_version &amp;&amp; proto==TCP &amp;&amp; (80==dst_port || 8080==dst_port)"
DOWNLINK = "4==ip_version &amp;&amp; proto==TCP &amp;&amp; (80==src_port || 8080==src_port)"
MEMORY = "<rasd:VirtualQuantity>512</rasd:VirtualQuantity>"
UNIT = "<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>"
CPU = "<rasd:VirtualQuantity>1</rasd:VirtualQuantity>"
DISK = '<ovf:Disk ovf:diskId="disk" ovf:fileRef="image"'
CAPACITY = f'ovf:capacity="{2 * GIB}"'
FORMAT = 'ovf:format="http://www.gnome.org/~markmc/qcow-image-format.html"'
IMAGE = '<ovf:File ovf:id="image" ovf:href="goon.qcow2" ovf:size="327680"/>'
NETWORK = '    <ovf:Network ovf:name="user-plane">'
FOREIGN = '<x:Settings xmlns:x="urn:example" {}><ovf:Info>Other</ovf:Info><x:Value>1</x:Value></x:Settings>'
OVF = "http://schemas.dmtf.org/ovf/envelope/"

VALID: list[Case] = [
    ("as it is", "goon", ()),
    ("as it is", "lens", ()),
    ("optional foreign section", "goon", (more_sections(FOREIGN.format('ovf:required="false"')),)),
    ("optional foreign section, 0", "goon", (more_sections(FOREIGN.format('ovf:required="0"')),)),
    ("optional section of the standard", "goon", (more_sections(
        '<ovf:StartupSection ovf:required="false"><ovf:Info/><ovf:Item ovf:id="goon" ovf:order="1"/>'
        "</ovf:StartupSection>"),)),
    ("optional foreign section of the envelope", "goon",
     (("  <ovf:VirtualSystem ", FOREIGN.format('ovf:required="false"') + "<ovf:VirtualSystem "),)),
    ("annotation and licence", "goon", (more_sections(
        "<ovf:AnnotationSection><ovf:Info/><ovf:Annotation>Hello</ovf:Annotation></ovf:AnnotationSection>"
        "<ovf:EulaSection><ovf:Info/><ovf:License>Free</ovf:License></ovf:EulaSection>"),)),
    ("optional USB controller", "goon", (more_hardware(item("USB", 23, attributes=' ovf:required="false"')),)),
    ("optional foreign hardware", "goon", (more_hardware('<v:Config xmlns:v="urn:v" ovf:required="false"/>'),)),
    ("controllers and a CD-ROM", "goon", (("      <ovf:Item>\n        <rasd:ElementName>The disk",
        item("IDE", 5, instance="91") + item("SCSI", 6, instance="92") + item("SATA", 20, instance="93")
        + item("CD", 15, instance="94") + "<ovf:Item>\n        <rasd:ElementName>The disk"),)),
    ("System element", "goon", (("      <!-- In each item", ("<ovf:System><vssd:ElementName "
        'xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">x'
        "</vssd:ElementName><vssd:InstanceID "
        'xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">0'
        "</vssd:InstanceID></ovf:System><!-- In each item")),)),
    ("1,024 MiB", "goon", ((MEMORY, "<rasd:VirtualQuantity>1024</rasd:VirtualQuantity>"),)),
    ("1 GiB in gigabytes", "goon", ((UNIT, "<rasd:AllocationUnits>byte*2^30</rasd:AllocationUnits>"), (MEMORY, CPU))),
    ("memory in mebibytes", "goon", ((UNIT, "<rasd:AllocationUnits>mebibyte</rasd:AllocationUnits>"),)),
    ("memory in two items", "goon", (more_hardware(
        f"<ovf:Item>{UNIT}<rasd:ElementName>More</rasd:ElementName><rasd:InstanceID>9</rasd:InstanceID>"
        f"<rasd:ResourceType>4</rasd:ResourceType>{MEMORY}</ovf:Item>"),)),
    ("capacity in units", "goon", ((CAPACITY, 'ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^30"'),)),
    ("8 GiB", "goon", ((CAPACITY, f'ovf:capacity="{8 * GIB}"'),)),
    ("format with a fragment", "goon", (('format.html"', 'format.html#compressed"'),)),
    ("format under people", "goon", (("http://www.gnome", "http://people.gnome"),)),
    ("populatedSize", "goon", ((CAPACITY, CAPACITY + ' ovf:populatedSize="1"'),)),
    ("several transports", "goon", (('transport="iso"', 'transport="com.vmware.guestInfo iso"'),)),
    ("transports by commas", "goon", (('transport="iso"', 'transport="iso,com.vmware.guestInfo"'),)),
    ("a further network", "goon", ((NETWORK, '<ovf:Network ovf:name="spare"/>' + NETWORK),)),
    ("two user-plane NICs", "lens", (
        ('ovf:name="user-plane">', 'ovf:name="user-plane-ul">'),
        ("  </ovf:NetworkSection>", '<ovf:Network ovf:name="user-plane-dl"/></ovf:NetworkSection>'),
        (">user-plane<", ">user-plane-ul<"),
        ('<racs:Nic network="user-plane"/>',
         '<racs:Nic network="user-plane-ul"/><racs:Nic network="user-plane-dl"/>'),
        more_hardware(item("DL", 10).replace("<rasd:ElementName>",
                                             "<rasd:Connection>user-plane-dl</rasd:Connection><rasd:ElementName>")))),
    ("version of four numbers", "goon", (("1.0.0<", "1.22.333.4444-rc1<"),)),
    ("version of one", "goon", (("1.0.0<", "7<"),)),
    ("comment inside a text", "goon", (("1.0.0<", "1.<!-- -->0.0<"),)),
    ("whole interval", "goon", (('interval="1.0"', 'interval="1"'),)),
    ("no drill", "goon", (('<racs:Drills supports="hang"/>', ""),)),
    ("no forwarding", "goon", ((FORWARD, ""),)),
    ("ends of the range", "goon", ((FORWARD, FORWARD.replace("29001", "29000") + FORWARD.replace("29001", "29999")),)),
    ("one number for both protocols", "goon", ((FORWARD, FORWARD + FORWARD.replace("tcp", "udp")),)),
    ("an Allow", "goon", (firewall("tcp", "65535", "service"),)),
    ("mounts", "goon", (storage(mount("/", "1.5", "GiB"), mount("/var/log", "512", "MiB")),)),
    ("mounts in small units", "goon", (storage(mount("/", "1048576", "KiB"), mount("/srv", "0.0005", "TiB")),)),
    ("UDP with a Probe", "goon", ((UDP7, ('<racs:Service protocol="udp" port="5000">'
        '<racs:Probe send="70696E67" expect="706f6e67"/></racs:Service>')),)),
    ("UDP on 53 and 123", "goon", ((UDP7, UDP7.replace('"7"', '"53"') + UDP7.replace('"7"', '"123"')),)),
    ("FQDN with a dot at its end", "goon", (("goon.apps.example", "GoOn.apps.example."),)),
    ("two endpoints", "goon", (("      </racs:Endpoint>", ('</racs:Endpoint><racs:Endpoint fqdn="b.apps.example">'
        '<racs:Service protocol="tcp" port="80"/></racs:Endpoint>')),)),
    ("no features", "goon", (("<racs:Feature ", "<!-- "), ('"on"/>', "-->"), ('"off"/>', "-->"))),
    ("rules without an Effect", "lens", (('<racs:Effect name="web" payload="preserves"/>', ""),)),
    ("an Effect before its rule", "lens", (
        ('<racs:Effect name="web" payload="preserves"/>', ""),
        ("      <racs:Offload>", '<racs:Offload><racs:Effect name="web" payload="modifies"/>'))),
    ("texts in other languages", "goon", (("</ovf:Envelope>", ('<ovf:Strings xml:lang="de">'
        '<ovf:Msg ovf:msgid="a">b</ovf:Msg></ovf:Strings></ovf:Envelope>')),)),
    ("a foreign attribute", "goon", (("<ovf:DiskSection>", '<ovf:DiskSection x:y="1" xmlns:x="urn:x">'),)),
    ("CRLF", "goon", (("\n", "\r\n"),)),
]  # fmt: skip

INVALID: dict[str, list[Case]] = {
    "DSC-001": [
        ("OVF 1", "goon", ((OVF + "2", OVF + "1"),)),
        ("no namespace", "goon", ((f' xmlns:ovf="{OVF}2"', ""), ("ovf:", ""))),
        ("other root", "goon", (("ovf:Envelope", "ovf:Package"),)),
        ("cut", "goon", (("</ovf:Envelope>", ""),)),
        ("DOCTYPE", "goon", (("<!-- GoOn", "<!DOCTYPE ovf:Envelope><!-- GoOn"),)),
        ("entities", "goon", (("<!-- GoOn", '<!DOCTYPE a [<!ENTITY b "c">]><!-- GoOn'),)),
        ("no References", "goon", (("ovf:References", "ovf:Files"),)),
        ("elements in wrong order", "goon", (("    <ovf:Info>The virtual machine of GoOn</ovf:Info>",
            "<ovf:Name>GoOn</ovf:Name><ovf:Info>The virtual machine of GoOn</ovf:Info>"),)),
        ("VirtualQuantity is no number", "goon", ((CPU, "<rasd:VirtualQuantity>one</rasd:VirtualQuantity>"),)),
        ("negative VirtualQuantity", "goon", ((MEMORY, "<rasd:VirtualQuantity>-1</rasd:VirtualQuantity>"),)),
        ("no href", "goon", ((' ovf:href="auth/acl.xml"', ""),)),
        ("unprefixed href", "goon", (('ovf:href="auth', 'href="auth'),)),
        ("size is no number", "goon", (('ovf:href="auth', 'ovf:size="big" ovf:href="auth'),)),
        ("two Files of one id", "goon", (('ovf:id="acl"', 'ovf:id="image"'),)),
        ("a File twice", "goon", (("  </ovf:References>",
            '<ovf:File ovf:id="b" ovf:href="auth/acl.xml"/></ovf:References>'),)),
        ("no capacity", "goon", ((CAPACITY, 'capacity="1"'),)),
        ("no Info", "goon", (("<ovf:Info>The boot disk</ovf:Info>", ""),)),
        ("no id of the system", "goon", (('<ovf:VirtualSystem ovf:id="goon">', "<ovf:VirtualSystem>"),)),
        ("item without ElementName", "goon",
         (("<rasd:ElementName>The disk</rasd:ElementName>", ""),)),
        ("item out of order", "goon", ((
            "<rasd:InstanceID>1</rasd:InstanceID>\n        <rasd:ResourceType>3</rasd:ResourceType>",
            "<rasd:ResourceType>3</rasd:ResourceType>\n        <rasd:InstanceID>1</rasd:InstanceID>"),)),
        ("InstanceID twice", "goon", (("<rasd:InstanceID>6<", "<rasd:InstanceID>5<"),)),
        ("ResourceType is no number", "goon", ((
            "<rasd:ResourceType>21<", "<rasd:ResourceType>serial<"),)),
        ("unknown section of the standard's namespace", "goon", (more_sections("<ovf:FooSection/>"),)),
        ("xsi:type", "goon", (("<ovf:DiskSection>",
            '<ovf:DiskSection xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="x">'),)),
        ("unknown element of ours", "goon", (more_properties("<racs:Colour/>"),)),
        ("unknown attribute of ours", "goon", (("<racs:Drills ", '<racs:Drills colour="red" '),)),
        ("Info in our namespace", "goon", (
            ("<ovf:Info>RACS application properties</ovf:Info>", "<racs:Info>x</racs:Info>"),)),
        ("no Heartbeat", "goon", (('<racs:Heartbeat interval="1.0"/>', ""),)),
        ("no id", "goon", (('<racs:Application id="goon" ', "<racs:Application "),)),
        ("direction", "lens", (('<racs:Effect', ('<racs:Rule name="x" direction="sideways">proto==TCP</racs:Rule>'
            "<racs:Effect")),)),
        ("payload", "lens", (('payload="preserves"', 'payload="eats"'),)),
        ("protocol of a service", "goon", ((TCP7, TCP7.replace("tcp", "sctp")),)),
        ("port of a service", "goon", ((TCP7, TCP7.replace('"7"', '"0"')),)),
        ("port above all", "goon", ((TCP7, TCP7.replace('"7"', '"65536"')),)),
        ("target of a forward", "goon", ((FORWARD, FORWARD + FORWARD.replace('"22"', '"-1"').replace("01", "02")),)),
        ("Probe that is no hex", "goon", ((UDP7, ('<racs:Service protocol="udp" port="7">'
            '<racs:Probe send="ping" expect="00"/></racs:Service>')),)),
        ("default of a feature", "goon", (('default="off"', 'default="maybe"'),)),
        ("undeclared prefix", "goon", (("<racs:Drills", "<rax:Drills"),)),
    ],
    "DSC-002": [
        ("two VirtualSystems", "goon", (("</ovf:Envelope>",
            '<ovf:VirtualSystem ovf:id="b"><ovf:Info/></ovf:VirtualSystem></ovf:Envelope>'),)),
        ("a collection", "goon", (("ovf:VirtualSystem ", "ovf:VirtualSystemCollection "),
                                  ("</ovf:VirtualSystem>", "</ovf:VirtualSystemCollection>"))),
        ("two hardware sections", "goon", (more_sections(
            "<ovf:VirtualHardwareSection><ovf:Info/></ovf:VirtualHardwareSection>"),)),
        ("no hardware section", "goon", (("ovf:VirtualHardwareSection", "x:Hardware"),
            ("<ovf:Envelope ", '<ovf:Envelope xmlns:x="urn:x" '),
            ('<x:Hardware ', '<x:Hardware ovf:required="false" '))),
        ("two application sections", "goon", (("  </ovf:VirtualSystem>",
            ('<racs:ApplicationSection><ovf:Info/><racs:Application id="b" type="terminating"/>'
            '<racs:Heartbeat interval="1"/></racs:ApplicationSection></ovf:VirtualSystem>')),)),
        ("no application section", "goon", (("racs:ApplicationSection", "x:Application"),
            ("<ovf:Envelope ", '<ovf:Envelope xmlns:x="urn:x" '),
            ('<x:Application ovf:required="true"', '<x:Application ovf:required="false"'))),
        ("application section of the envelope", "goon", (("  <ovf:VirtualSystem ",
            ('<racs:ApplicationSection><ovf:Info/><racs:Application id="b" type="terminating"/>'
            '<racs:Heartbeat interval="1"/></racs:ApplicationSection><ovf:VirtualSystem ')),)),
        ("required foreign section", "goon", (more_sections(FOREIGN.format('ovf:required="true"')),)),
        ("required by default", "goon", (more_sections(FOREIGN.format("")),)),
        ("required is no boolean", "goon", (more_sections(FOREIGN.format('ovf:required="no"')),)),
        ("required section of the standard", "goon", (more_sections(
            '<ovf:StartupSection><ovf:Info/><ovf:Item ovf:id="goon" ovf:order="1"/></ovf:StartupSection>'),)),
        ("DeploymentOption", "goon", (("  <ovf:VirtualSystem ",
            ('<ovf:DeploymentOptionSection ovf:required="false"><ovf:Info/><ovf:Configuration ovf:id="a"><ovf:Label/>'
            "<ovf:Description/></ovf:Configuration></ovf:DeploymentOptionSection><ovf:VirtualSystem ")),)),
        ("bound", "goon", (("      <ovf:Item>\n        <rasd:AllocationUnits",
                            '<ovf:Item ovf:bound="max"><rasd:AllocationUnits'),)),
        ("configuration", "goon", (("      <ovf:Item>\n        <rasd:AllocationUnits",
                                    '<ovf:Item ovf:configuration="a"><rasd:AllocationUnits'),)),
        ("class", "goon", (("<ovf:ProductSection>", '<ovf:ProductSection ovf:class="com.example">'),)),
        ("instance", "goon", (("<ovf:ProductSection>", '<ovf:ProductSection ovf:instance="1">'),)),
        ("two ProductSections", "goon", (more_sections("<ovf:ProductSection><ovf:Info/></ovf:ProductSection>"),)),
        ("key of the platform", "goon", (("    </ovf:ProductSection>",
            '<ovf:Property ovf:key="racs.colour" ovf:type="string"/></ovf:ProductSection>'),)),
        ("key twice", "goon", (("    </ovf:ProductSection>",
            2 * '<ovf:Property ovf:key="colour" ovf:type="string"/>' + "</ovf:ProductSection>"),)),
        ("Offload in a terminating app", "goon",
            (("      <!-- The name under", "<racs:Offload/><!-- The name under"),)),
        ("Endpoint in a transparent app", "lens", (("      <!-- The app lets", ('<racs:Endpoint fqdn="a.example">'
            f"{UDP7}</racs:Endpoint><!-- The app lets")),)),
    ],
    "DSC-003": [
        *((f"id {value!r}", "goon", (('id="goon" type', f'id="{value}" type'),))
          for value in ("", "GoOn", "1goon", "go_on", "go on", "g" * 33, "goön", "goon&#10;")),
        ("type", "goon", (('type="terminating"', 'type="hybrid"'),)),
        ("type in capitals", "goon", (('type="terminating"', 'type="Terminating"'),)),
        ("no vendor", "goon", (("<ovf:Vendor>Example Apps</ovf:Vendor>", ""),)),
        ("empty vendor", "goon", (("Example Apps<", " <"),)),
        ("no product", "goon", (("<ovf:Product>GoOn</ovf:Product>", ""),)),
        ("no version", "goon", (("<ovf:Version>1.0.0</ovf:Version>", ""),)),
        *((f"version {value!r}", "goon", ((">1.0.0<", f">{value}<"),))
          for value in ("", "v1.0", "1.2.3.4.5", "1..2", "1.", "latest", "1-", "1_2", "12345678901")),
        ("no ProductSection", "goon", (("ovf:ProductSection", "x:Product"),
            ("<ovf:Envelope ", '<ovf:Envelope xmlns:x="urn:x" '),
            ("<x:Product>", '<x:Product ovf:required="false">'))),
    ],
    "DSC-004": [
        ("racs:Nic in another order", "goon", (('<racs:Nic network="service"/>', '<racs:Nic network="x"/>'),
            ('<racs:Nic network="user-plane"/>', '<racs:Nic network="service"/>'),
            ('network="x"', 'network="user-plane"'))),
        ("everything in another order", "goon", ((">service<", ">x<"), (">user-plane<", ">service<"),
            (">x<", ">user-plane<"), ('<racs:Nic network="service"/>', '<racs:Nic network="x"/>'),
            ('<racs:Nic network="user-plane"/>', '<racs:Nic network="service"/>'),
            ('network="x"', 'network="user-plane"'))),
        ("a Nic too few", "goon", (('<racs:Nic network="user-plane"/>', ""),)),
        ("no Nic at all", "goon", (('<racs:Nic network="user-plane"/>', ""), ('<racs:Nic network="service"/>', ""))),
        ("a Nic too many", "goon", (('<racs:Nic network="user-plane"/>', '<racs:Nic network="user-plane"/>' * 2),)),
        ("an item too few", "goon", ((">user-plane</rasd:Connection>", "></rasd:Connection>"),)),
        ("an item without Connection", "goon", (("<rasd:Connection>user-plane</rasd:Connection>", ""),)),
        ("an item with two", "goon", (("<rasd:Connection>user-plane<",
            "<rasd:Connection>service</rasd:Connection><rasd:Connection>user-plane<"),)),
        ("a network that is not there", "goon", (('ovf:name="user-plane"', 'ovf:name="users"'),)),
        ("a network twice", "goon", ((NETWORK, '<ovf:Network ovf:name="service"/>' + NETWORK),)),
        ("other networks", "goon", (("user-plane", "sgi"),)),
        ("two user-plane NICs in a terminating app", "goon", (
            ('ovf:name="user-plane">', 'ovf:name="user-plane-ul">'),
            ("  </ovf:NetworkSection>", '<ovf:Network ovf:name="user-plane-dl"/></ovf:NetworkSection>'),
            (">user-plane<", ">user-plane-ul<"),
            ('<racs:Nic network="user-plane"/>',
             '<racs:Nic network="user-plane-ul"/><racs:Nic network="user-plane-dl"/>'),
            more_hardware(item("DL", 10).replace("<rasd:ElementName>",
                          "<rasd:Connection>user-plane-dl</rasd:Connection><rasd:ElementName>")))),
    ],
    "DSC-005": [
        ("no Offload", "lens", (("racs:Offload", "racs:PortForwarding"), ("<racs:Rule", "<!-- "), ("Rule>", "-->"),
            ('<racs:Effect name="web" payload="preserves"/>', ""))),
        ("no downlink rule", "lens", (('name="web" direction="downlink"', 'name="b" direction="uplink"'),)),
        ("no uplink rule", "lens", (('name="web" direction="uplink"', 'name="b" direction="downlink"'),)),
        ("a name twice", "lens", (('direction="downlink"', 'direction="uplink"'),
            ("      </racs:Offload>",
             f'<racs:Rule name="web" direction="downlink">{DOWNLINK}</racs:Rule></racs:Offload>'))),
        ("unknown field", "lens", (("80==dst_port", "80==dest_port"),)),
        ("no expression", "lens", ((UPLINK, ""),)),
        ("out of range", "lens", (("8080==dst_port", "80800==dst_port"),)),
        ("host bits", "lens", ((UPLINK, "dst_ip in 198.51.100.1/24"),)),
        ("Effect of no rule", "lens", (('<racs:Effect name="web"', '<racs:Effect name="mail"'),)),
        ("Effect twice", "lens", (('<racs:Effect name="web" payload="preserves"/>',
                                   '<racs:Effect name="web" payload="preserves"/>' * 2),)),
    ],
    "DSC-007": [
        ("no Endpoint", "goon", (("<racs:Endpoint ", "<!--"), (UDP7, ""), (TCP7, ""), ("</racs:Endpoint>", "-->"))),
        ("no Service", "goon", ((UDP7, ""), (TCP7, ""))),
        *((f"FQDN {value!r}", "goon", (("goon.apps.example", value),))
          for value in ("", "goon", "goon..example", "-goon.example", "goon-.example", "go_on.example", ".example",
                        "goon.example/x", "g" * 64 + ".example", "10.0.0.7", "a." * 127 + "b", "goön.example",
                        "a b.c")),
        ("a name twice", "goon", (("      </racs:Endpoint>", (
            '</racs:Endpoint><racs:Endpoint fqdn="GOON.apps.example">'
            '<racs:Service protocol="tcp" port="80"/></racs:Endpoint>')),)),
        ("a service twice", "goon", ((UDP7, UDP7 * 2),)),
        ("a service twice over endpoints", "goon", (("      </racs:Endpoint>",
            f'</racs:Endpoint><racs:Endpoint fqdn="b.example">{UDP7}</racs:Endpoint>'),)),
        ("UDP without a Probe", "goon", ((UDP7, UDP7.replace('"7"', '"5000"')),)),
    ],
    "DSC-008": [
        *((f"from {value!r}", "goon", (('from="29001"', f'from="{value}"'),))
          for value in ("", "28999", "30000", "22", "0", "-29001", "29001.5", "029001", "many", "99999999999")),
        ("a port twice", "goon", ((FORWARD, FORWARD + FORWARD.replace('"22"', '"80"')),)),
    ],
    "DSC-009": [
        ("too much", "goon", (storage(mount("/", "3", "GiB")),)),
        ("too much together", "goon", (storage(mount("/", "1.5", "GiB"), mount("/var", "1", "GiB")),)),
        ("no root", "goon", (storage(mount("/var", "1", "GiB")),)),
        ("no mount", "goon", (storage(),)),
        ("a path twice", "goon", (storage(mount("/", "1", "MiB"), mount("/", "1", "MiB")),)),
        ("relative path", "goon", (storage(mount("/", "1", "MiB"), mount("var", "1", "MiB")),)),
        ("slash at the end", "goon", (storage(mount("/", "1", "MiB"), mount("/var/", "1", "MiB")),)),
        *((f"capacity {capacity!r} {unit!r}", "goon", (storage(mount("/", capacity, unit)),))
          for capacity, unit in (("", "GiB"), ("0", "GiB"), ("-1", "GiB"), ("1e3", "KiB"), ("2", "GB"), ("2", ""),
                                 ("1,5", "GiB"), ("nan", "GiB"))),
    ],
    "DSC-010": [
        *((f"id {value!r}", "goon", (('id="goon.greeting"', f'id="{value}"'),))
          for value in ("", "Upper", "goon upper", "goon_upper", "1up", "u" * 65)),
        ("id twice", "goon", (('id="goon.greeting"', 'id="goon.echo"'),)),
        ("no name", "goon", (('name="Greeting"', 'name=" "'),)),
        *((f"sales item {value!r}", "goon", (("RACS-GOON-002", value),))
          for value in ("", " ", "x" * 65, "a&#9;b", "a&#10;b")),
    ],
    "DSC-012": [
        *((f"type {kind}", "goon", (more_hardware(item("Extra", kind)),)) for kind in (1, 14, 16, 22, 23, 24, 35, 0)),
        ("no type", "goon", (("<rasd:ResourceType>21</rasd:ResourceType>", ""),)),
        ("two CD-ROMs", "goon", (more_hardware(item("CD", 15) + item("CD", 15, instance="91")),)),
        ("required foreign hardware", "goon", (more_hardware('<v:Config xmlns:v="urn:v"/>'),)),
    ],
    "DSC-013": [
        ("no transport", "goon", ((' ovf:transport="iso"', ""),)),
        ("another transport", "goon", (('transport="iso"', 'transport="com.vmware.guestInfo"'),)),
        ("a longer word", "goon", (('transport="iso"', 'transport="iso9660"'),)),
        ("in capitals", "goon", (('transport="iso"', 'transport="ISO"'),)),
    ],
    "DSC-014": [
        *((f"interval {value!r}", "goon", (('interval="1.0"', f'interval="{value}"'),))
          for value in ("", "2", "0.5", "1s", "-1", "1e0", "1000", "inf")),
        *((f"allow {row}", "goon", (firewall(*row),))
          for row in (("sctp", "22", "service"), ("", "22", "service"), ("tcp", "0", "service"),
                      ("tcp", "65536", "service"), ("tcp", "ssh", "service"), ("tcp", "22", "sgi"), ("tcp", "22", ""))),
        *((f"drill {value!r}", "goon", (('supports="hang"', f'supports="{value}"'),))
          for value in ("", "crash", "hang crash", "hang hang", "Hang")),
    ],
    "RES-001": [
        ("two CPUs", "goon", ((CPU, "<rasd:VirtualQuantity>2</rasd:VirtualQuantity>"),)),
        ("no quantity", "goon", ((CPU, ""),)),
        ("zero", "goon", ((CPU, "<rasd:VirtualQuantity>0</rasd:VirtualQuantity>"),)),
        ("two items", "goon", (more_hardware(item("CPU", 3).replace("</ovf:Item>", CPU + "</ovf:Item>")),)),
        ("no item", "goon", (("<rasd:ResourceType>3<", "<rasd:ResourceType>20<"),)),
    ],
    "RES-002": [
        ("1,025 MiB", "goon", ((MEMORY, "<rasd:VirtualQuantity>1025</rasd:VirtualQuantity>"),)),
        ("GiB", "goon", ((UNIT, "<rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits>"),)),
        ("no unit", "goon", ((UNIT, ""),)),
        ("no unit of bytes", "goon", ((UNIT, "<rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>"),)),
        ("no quantity", "goon", ((MEMORY, ""),)),
        ("zero", "goon", ((MEMORY, "<rasd:VirtualQuantity>0</rasd:VirtualQuantity>"),)),
        ("no item", "goon", (("<rasd:ResourceType>4<", "<rasd:ResourceType>20<"),)),
        ("two items", "goon", (more_hardware(
            f"<ovf:Item>{UNIT}<rasd:ElementName>More</rasd:ElementName><rasd:InstanceID>9</rasd:InstanceID>"
            "<rasd:ResourceType>4</rasd:ResourceType>"
            "<rasd:VirtualQuantity>513</rasd:VirtualQuantity></ovf:Item>"),)),
        ("a unit without end", "goon", ((UNIT, "<rasd:AllocationUnits>byte * 9999^99</rasd:AllocationUnits>"),)),
    ],
    "RES-003": [
        ("a byte more than 8 GiB", "goon", ((CAPACITY, f'ovf:capacity="{8 * GIB + 1}"'),)),
        ("9 GiB", "goon", ((CAPACITY, 'ovf:capacity="9" ovf:capacityAllocationUnits="byte * 2^30"'),)),
    ],
    "PKG-010": [
        ("no disk", "goon", ((DISK, "<!--"), (f"{FORMAT}/>", "-->"))),
        ("two disks", "goon", (("  </ovf:DiskSection>",
            f'<ovf:Disk ovf:diskId="b" ovf:fileRef="image" {CAPACITY} {FORMAT}/></ovf:DiskSection>'),)),
        ("a blank disk", "goon", ((' ovf:fileRef="image"', ""),)),
        ("dangling fileRef", "goon", (('fileRef="image"', 'fileRef="other"'),)),
        ("no size", "goon", ((' ovf:size="327680"', ""),)),
        ("the image twice", "goon", (("  </ovf:References>",
            '<ovf:File ovf:id="b" ovf:href="goon.qcow2"/></ovf:References>'),)),
        ("compression", "goon", (('ovf:size="327680"', 'ovf:size="327680" ovf:compression="gzip"'),)),
        ("chunks", "goon", (('ovf:size="327680"', 'ovf:size="327680" ovf:chunkSize="1000000"'),)),
        ("compressed ACL", "goon", (('href="auth/acl.xml"', 'href="auth/acl.xml" ovf:compression="gzip"'),)),
        ("parent", "goon", ((CAPACITY, CAPACITY + ' ovf:parentRef="base"'),)),
        ("no format", "goon", ((FORMAT, ""),)),
        ("VMDK", "goon", ((FORMAT, 'ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html"'),)),
        ("capacity by a property", "goon", ((CAPACITY, 'ovf:capacity="${disk.size}"'),)),
        ("negative capacity", "goon", ((CAPACITY, 'ovf:capacity="-1"'),)),
        ("capacity with a point", "goon", ((CAPACITY, 'ovf:capacity="2.0"'),)),
        ("unit of no bytes", "goon", ((CAPACITY, CAPACITY + ' ovf:capacityAllocationUnits="GB"'),)),
        ("no disk item", "goon", (("<rasd:ResourceType>17<", "<rasd:ResourceType>20<"),)),
        ("two disk items", "goon", (more_hardware(item("Disk", 17)),)),
        ("dangling HostResource", "goon", (("ovf:/disk/disk", "ovf:/disk/other"),)),
        ("no HostResource", "goon", (("<rasd:HostResource>ovf:/disk/disk</rasd:HostResource>", ""),)),
        ("HostResource of OVF 1", "goon", (("ovf:/disk/disk", "/disk/disk"),)),
    ],
    "PKG-015": [
        ("bytes", "goon", (("</ovf:Envelope>", f"<!--{'x' * 2**20}--></ovf:Envelope>"),)),
        ("elements", "goon", (more_sections("<ovf:Info/>" * 10_000),)),
        ("attributes", "goon", (("<ovf:DiskSection>",
            "<ovf:DiskSection " + " ".join(f'a{n}="1"' for n in range(65)) + ">"),)),
        ("namespaces", "goon", (("<ovf:DiskSection>",
            "<ovf:DiskSection " + " ".join(f'xmlns:a{n}="urn:a"' for n in range(65)) + ">"),)),
        ("depth", "goon", (more_sections("<ovf:Info>" * 40 + "</ovf:Info>" * 40),)),
        ("rules", "lens", (("      </racs:Offload>", "".join(
            f'<racs:Rule name="r{n}" direction="uplink">proto==TCP</racs:Rule>' for n in range(63))
            + "</racs:Offload>"),)),
        ("a long rule", "lens", ((UPLINK, UPLINK + " " + " || proto==UDP" * 400),)),
    ],
}  # fmt: skip
