//! Networks in TOML files.
//!
//! ```toml
//! layers = [
//!     { conv = 16 }, "batch-norm", "relu",
//!     { block = "basic", channels = 16, repeat = 3 },
//!     "global-average-pool",
//!     { linear = "classes" },
//! ]
//!
//! [block.basic]
//! layers = [
//!     { conv = "channels", bias = false }, "batch-norm", "relu",
//!     { conv = "channels", bias = false }, "batch-norm",
//!     { add = "input" }, "relu",
//! ]
//! ```
//!
//! An entry reads what the one before it gives, or what `from` names; `input` is what the block, or the network, was given. A number
//! is written as it is or as a product of numbers and names: an argument of the block, `classes`, or `in`, the channels read.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
};

use lyceum_core::{Error, RecipeError, Result, recipe::suggest};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Activation, Constant, Conv, Graph, Make, Op, Pool, Port, Shape, operation::registered};

/// The name of every operation, and the keys that it takes besides `name` and `from`.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("conv", &["kernel", "stride", "padding", "dilation", "groups", "bias"]),
    ("depthwise", &["stride", "padding", "dilation", "bias"]),
    ("transposed-conv", &["kernel", "stride", "padding"]),
    ("linear", &[]),
    ("embedding", &["symbols"]),
    ("lstm", &[]),
    ("last", &[]),
    ("attention", &[]),
    ("matrix-product", &[]),
    ("weighted-sum", &["weights"]),
    ("constant", &["shape"]),
    ("learned", &["shape"]),
    ("batch-norm", &[]),
    ("layer-norm", &[]),
    ("group-norm", &[]),
    ("relu", &[]),
    ("relu6", &[]),
    ("leaky-relu", &[]),
    ("hard-sigmoid", &[]),
    ("hard-swish", &[]),
    ("gelu", &[]),
    ("silu", &[]),
    ("sigmoid", &[]),
    ("tanh", &[]),
    ("softmax", &[]),
    ("max-pool", &["stride", "padding"]),
    ("average-pool", &["stride", "padding"]),
    ("global-average-pool", &[]),
    ("global-max-pool", &[]),
    ("adaptive-average-pool", &[]),
    ("upsample", &["bilinear"]),
    ("add", &[]),
    ("subtract", &[]),
    ("multiply", &[]),
    ("divide", &[]),
    ("mean", &[]),
    ("concatenate", &[]),
    ("slice", &[]),
    ("gather", &[]),
    ("split", &[]),
    ("flatten", &[]),
    ("reshape", &[]),
    ("transpose", &[]),
    ("pad", &[]),
    ("dropout", &[]),
];

type Value<'a> = Spanned<DeValue<'a>>;

impl Graph {
    /// Reads a network from a TOML file, for examples of this shape and this number of classes.
    ///
    /// # Errors
    ///
    /// A mistake in the file, with its line; shapes that do not fit; an output that is not one number a class, or one a class and pixel.
    pub fn read(path: &Path, input: Shape, classes: usize) -> Result<Self> {
        Self::parse(&path.display().to_string(), &text_of(path)?, input, classes)
    }

    /// The same of a text; `name` is what errors call it.
    pub fn parse(name: &str, text: &str, input: Shape, classes: usize) -> Result<Self> {
        let file = File { name, text };
        let root = DeTable::parse(text).map_err(|error| file.wrong(error.span().unwrap_or(0..0), error.message().to_owned(), None))?;
        let root = root.get_ref();
        if let Some((key, _)) = root.iter().find(|(key, _)| !["layers", "block"].contains(&key.get_ref().as_ref())) {
            return Err(file.wrong(
                key.span(),
                format!("unknown key `{}`", key.get_ref()),
                Some(suggest(key.get_ref(), &["layers", "block"])),
            ));
        }
        let blocks = match root.get("block").map(|value| (value.span(), value.get_ref())) {
            None => None,
            Some((_, DeValue::Table(blocks))) => Some(blocks),
            Some((span, _)) => return Err(file.wrong(span, "`block`: allowed: tables [block.NAME]".into(), None)),
        };
        let mut reader = Reader { file, blocks, registered: registered(), graph: Self::new(input) };
        let scope = Scope::new(String::new(), [("classes".to_owned(), classes)].into(), Port::Input, Vec::new());
        let layers = root.get("layers").ok_or_else(|| reader.file.wrong(0..0, "the key `layers` is missing".into(), None))?;
        reader.layers(layers, scope)?;
        if let Some(node) = reader.graph.unread() {
            let message = format!("nobody reads what `{}` gives", node.name);
            return Err(reader.file.wrong(layers.span(), message, Some("Name it in a later entry, or take it out.".into())));
        }
        match reader.graph.output() {
            Shape::Row(width) | Shape::Images([width, ..]) if width == classes => Ok(reader.graph),
            found => {
                let message = format!("the network gives {found}; allowed: {classes} numbers, one for each class, or as many channels");
                let help = "The last entry is mostly { linear = \"classes\" }.";
                Err(reader.file.wrong(layers.span(), message, Some(help.into())))
            }
        }
    }
}

/// What to do where a network's file is missing.
pub(crate) const HINT: &str = "Give the path of a network (a TOML file).";

/// The text of a network's file.
pub(crate) fn text_of(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => Error::damaged(path, "a network is text in UTF-8; this file is not"),
        std::io::ErrorKind::IsADirectory => Error::damaged(path, "a network is a TOML file; this is a folder"),
        _ => Error::missing_or_io("read", path, HINT)(error),
    })
}

/// The file, for errors.
#[derive(Clone, Copy)]
struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn wrong(&self, span: Range<usize>, message: String, help: Option<String>) -> Error {
        RecipeError::at(self.name, self.text, span, message, help).into()
    }
}

/// What names mean in a list of layers.
struct Scope {
    /// The prefix of its nodes' names.
    prefix: String,
    arguments: BTreeMap<String, usize>,
    /// Those that were asked for.
    used: RefCell<BTreeSet<String>>,
    nodes: BTreeMap<String, Port>,
    previous: Port,
    /// How many nodes of each kind there were.
    counts: BTreeMap<String, usize>,
    /// The blocks that it is part of.
    blocks: Vec<String>,
}

impl Scope {
    fn new(prefix: String, arguments: BTreeMap<String, usize>, input: Port, blocks: Vec<String>) -> Self {
        let nodes = [("input".to_owned(), input)].into();
        Self { prefix, arguments, used: RefCell::default(), nodes, previous: input, counts: BTreeMap::new(), blocks }
    }

    /// The kind with the next number that is free.
    fn next_name(&mut self, kind: &str) -> String {
        let count = self.counts.entry(kind.into()).or_insert(0);
        loop {
            *count += 1;
            let name = format!("{kind}{count}");
            if !self.nodes.contains_key(&name) {
                return name;
            }
        }
    }
}

struct Reader<'a> {
    file: File<'a>,
    blocks: Option<&'a DeTable<'a>>,
    /// Operations of other crates.
    registered: BTreeMap<&'static str, Make>,
    graph: Graph,
}

/// An entry of a list of layers: its operation, what is written after the operation, and the other keys.
struct Entry<'a> {
    span: Range<usize>,
    kind: &'a str,
    main: Option<&'a Value<'a>>,
    keys: Option<&'a DeTable<'a>>,
}

impl<'a> Entry<'a> {
    fn key(&self, name: &str) -> Option<&'a Value<'a>> {
        self.keys?.get(name)
    }
}

impl<'a> Reader<'a> {
    /// Adds all entries of a list; gives what the last one gives, and the names of the arguments that were used.
    fn layers(&mut self, list: &'a Value<'a>, mut scope: Scope) -> Result<(Port, BTreeSet<String>)> {
        let DeValue::Array(entries) = list.get_ref() else {
            return Err(self.file.wrong(list.span(), "`layers`: allowed: a list".into(), None));
        };
        for value in entries {
            let entry = self.entry(value)?;
            let from = match entry.key("from") {
                None => vec![scope.previous],
                Some(names) => self.ports(names, &scope)?,
            };
            let name = match entry.key("name").map(|name| (name.span(), name.get_ref())) {
                None => match entry.main.map(Spanned::get_ref) {
                    Some(DeValue::String(block)) if entry.kind == "block" && is_name(block) => scope.next_name(block),
                    _ => scope.next_name(entry.kind),
                },
                Some((_, DeValue::String(name))) if is_name(name) => name.to_string(),
                Some((span, _)) => return Err(self.file.wrong(span, "`name`: allowed: letters, digits, -, _ and .".into(), None)),
            };
            if scope.nodes.contains_key(&name) {
                return Err(self.file.wrong(entry.span, format!("`{name}` is the name of an earlier entry"), None));
            }
            let full = format!("{}{name}", scope.prefix);
            if entry.kind == "split" {
                for (number, port) in self.split(&entry, &full, from, &scope)?.into_iter().enumerate() {
                    scope.nodes.insert(format!("{name}.{}", number + 1), port);
                    scope.previous = port;
                }
                continue;
            }
            let port = match entry.kind {
                "block" | "layers" => self.block(&entry, &full, from, &scope)?,
                _ => self.node(&entry, &full, from, &scope)?,
            };
            scope.nodes.insert(name, port);
            scope.previous = port;
        }
        Ok((scope.previous, scope.used.into_inner()))
    }

    /// Slices of as many channels each.
    fn split(&mut self, entry: &Entry<'a>, name: &str, from: Vec<Port>, scope: &Scope) -> Result<Vec<Port>> {
        let wrong = |message: String| self.file.wrong(entry.span.clone(), message, None);
        let [port] = from.try_into().map_err(|_| wrong("a split reads one value".into()))?;
        let channels = self.graph.shape(port).channels();
        let main = entry.main.ok_or_else(|| wrong("allowed: { split = PARTS }".into()))?;
        let parts = self.number(main, scope, channels)?;
        if parts == 0 || parts > channels || !channels.is_multiple_of(parts) {
            return Err(wrong(format!("{channels} channels in {parts} parts; allowed: a divisor")));
        }
        let size = channels / parts;
        let slice = |part: usize| (format!("{name}.{}", part + 1), Op::Slice { from: part * size, until: (part + 1) * size });
        let adds = (0..parts).map(slice).map(|(name, op)| self.graph.add(&name, op, &[port]));
        adds.map(|added| added.map_err(|error| self.file.wrong(entry.span.clone(), error.to_string(), None))).collect()
    }

    fn entry(&self, value: &'a Value<'a>) -> Result<Entry<'a>> {
        let span = value.span();
        let known: Vec<&str> =
            OPERATIONS.iter().map(|(name, _)| *name).chain(["block", "layers"]).chain(self.registered.keys().copied()).collect();
        match value.get_ref() {
            DeValue::String(kind) => match known.iter().find(|name| *name == kind) {
                Some(kind) => Ok(Entry { span, kind, main: None, keys: None }),
                None => Err(self.file.wrong(span, format!("unknown operation `{kind}`"), Some(suggest(kind, &known)))),
            },
            DeValue::Table(keys) => {
                // Other keys of a block are its arguments, whatever they are called; an operation of another crate comes last.
                let all: Vec<_> = known.iter().filter_map(|name| keys.get(*name).map(|value| (*name, value))).collect();
                let whole = all.iter().find(|(name, _)| ["block", "layers"].contains(name)).copied();
                let mut own = all.iter().filter(|(name, _)| !self.registered.contains_key(name)).copied();
                let (first, second) = (own.next(), own.next());
                let (Some((kind, main)), None) = (whole.or(first).or(all.first().copied()), second.filter(|_| whole.is_none())) else {
                    let first = keys.iter().next().map(|(key, _)| key.get_ref().to_string()).unwrap_or_default();
                    let message = "an entry has one operation, such as { conv = 16, kernel = 3 }".to_owned();
                    return Err(self.file.wrong(span, message, Some(suggest(&first, &known))));
                };
                let options = OPERATIONS.iter().find(|(name, _)| *name == kind).map(|(_, options)| *options);
                if let Some(options) = options.or(self.registered.contains_key(kind).then_some(&[])) {
                    let allowed: Vec<&str> = ["name", "from", kind].iter().chain(options).copied().collect();
                    if let Some((key, _)) = keys.iter().find(|(key, _)| !allowed.contains(&key.get_ref().as_ref())) {
                        let text = key.get_ref();
                        return Err(self.file.wrong(key.span(), format!("unknown key `{text}`"), Some(suggest(text, &allowed))));
                    }
                }
                Ok(Entry { span, kind, main: Some(main), keys: Some(keys) })
            }
            other => {
                Err(self.file.wrong(span, format!("found {}; allowed: \"relu\", {{ conv = 16 }} and the like", other.type_str()), None))
            }
        }
    }

    /// The nodes of a name, or of a list of names.
    fn ports(&self, names: &Value<'_>, scope: &Scope) -> Result<Vec<Port>> {
        let one = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(name) => scope.nodes.get(name.as_ref()).copied().ok_or_else(|| {
                let known: Vec<&str> = scope.nodes.keys().map(String::as_str).collect();
                self.file.wrong(value.span(), format!("no earlier entry here is called `{name}`"), Some(suggest(name, &known)))
            }),
            _ => Err(self.file.wrong(value.span(), "allowed: a name, or a list of names".into(), None)),
        };
        match names.get_ref() {
            DeValue::Array(all) if !all.is_empty() => all.iter().map(one).collect(),
            _ => Ok(vec![one(names)?]),
        }
    }

    fn block(&mut self, entry: &Entry<'a>, name: &str, from: Vec<Port>, outer: &Scope) -> Result<Port> {
        let [mut port] =
            from.as_slice().try_into().map_err(|_| self.file.wrong(entry.span.clone(), "a block reads one value".into(), None))?;
        let main = entry.main.ok_or_else(|| self.file.wrong(entry.span.clone(), "allowed: { block = \"NAME\" }".into(), None))?;
        let mut blocks = outer.blocks.clone();
        if let ("block", DeValue::String(block)) = (entry.kind, main.get_ref()) {
            if blocks.iter().any(|other| other == block) {
                return Err(self.file.wrong(main.span(), format!("the block `{block}` is a part of itself"), None));
            }
            blocks.push(block.to_string());
        }
        let (mut arguments, layers) = if entry.kind == "layers" {
            (outer.arguments.clone(), main)
        } else {
            let mut known = outer.arguments.clone();
            known.retain(|name, _| name == "classes");
            let (defaults, layers) = self.definition(main)?;
            known.extend(defaults);
            (known, layers)
        };
        let reserved = ["block", "layers", "name", "from", "repeat"];
        let given = || entry.keys.into_iter().flat_map(DeTable::iter).filter(|(key, _)| !reserved.contains(&key.get_ref().as_ref()));
        let channels = self.graph.shape(port).channels();
        for (key, value) in given() {
            if ["in", "classes"].contains(&key.get_ref().as_ref()) {
                return Err(self.file.wrong(key.span(), format!("`{}` cannot be an argument; allowed: another name", key.get_ref()), None));
            }
            arguments.insert(key.get_ref().to_string(), self.number(value, outer, channels)?);
        }
        let repeat = entry.key("repeat").map_or(Ok(1), |value| match self.number(value, outer, channels)? {
            0 => Err(self.file.wrong(value.span(), "`repeat`: found 0; allowed: 1 or more".into(), None)),
            repeat => Ok(repeat),
        })?;
        for number in 1..=repeat {
            let prefix = if repeat > 1 { format!("{name}.{number}.") } else { format!("{name}.") };
            let before = self.graph.nodes().len();
            let (given_back, used) = self.layers(layers, Scope::new(prefix, arguments.clone(), port, blocks.clone()))?;
            port = given_back;
            if self.graph.nodes().len() == before {
                return Err(self.file.wrong(entry.span.clone(), "a block without operations".into(), None));
            }
            if let Some((key, _)) = given().find(|(key, _)| !used.contains(key.get_ref().as_ref())) {
                let known: Vec<&str> = used.iter().map(String::as_str).filter(|name| *name != "classes").collect();
                let message = format!("the block has no use for `{}`", key.get_ref());
                return Err(self.file.wrong(key.span(), message, Some(suggest(key.get_ref(), &known))));
            }
            if entry.kind == "layers" {
                outer.used.borrow_mut().extend(used);
            }
        }
        Ok(port)
    }

    /// The default arguments and the layers of a block.
    fn definition(&self, name: &Value<'_>) -> Result<(BTreeMap<String, usize>, &'a Value<'a>)> {
        let known: Vec<&str> = self.blocks.iter().flat_map(|blocks| blocks.keys()).map(|key| key.get_ref().as_ref()).collect();
        let DeValue::String(text) = name.get_ref() else {
            return Err(self.file.wrong(name.span(), "`block`: allowed: the name of a block".into(), None));
        };
        let missing = || self.file.wrong(name.span(), format!("there is no [block.{text}]"), Some(suggest(text, &known)));
        let found = self.blocks.and_then(|blocks| blocks.get(text.as_ref())).ok_or_else(missing)?;
        let DeValue::Table(table) = found.get_ref() else { return Err(missing()) };
        let layers = table.get("layers").ok_or_else(|| self.file.wrong(found.span(), format!("[block.{text}] has no `layers`"), None))?;
        let defaults = table.iter().filter(|(key, _)| key.get_ref() != "layers").map(|(key, value)| match integer(value) {
            _ if ["block", "name", "from", "repeat", "in", "classes"].contains(&key.get_ref().as_ref()) => {
                Err(self.file.wrong(key.span(), format!("`{}` cannot be an argument; allowed: another name", key.get_ref()), None))
            }
            Some(number) => Ok((key.get_ref().to_string(), number)),
            None => Err(self.file.wrong(value.span(), format!("`{}`: allowed: a whole number", key.get_ref()), None)),
        });
        Ok((defaults.collect::<Result<_>>()?, layers))
    }

    fn node(&mut self, entry: &Entry<'a>, name: &str, from: Vec<Port>, scope: &Scope) -> Result<Port> {
        let mut inputs = from;
        let channels = inputs.first().map_or(0, |port| self.graph.shape(*port).channels());
        let op = self.op(entry, scope, channels)?;
        if let (Op::Constant(_) | Op::Learned(_), None) = (&op, entry.key("from")) {
            inputs.clear();
        }
        // A mixture of one value has no others.
        let none = |others: &Value<'_>| op == Op::WeightedSum && matches!(others.get_ref(), DeValue::Array(all) if all.is_empty());
        if let Some(others) = entry.main.filter(|others| op.reads_several() && !none(others)) {
            inputs.extend(self.ports(others, scope)?);
        }
        match entry.key("weights") {
            Some(weights) => inputs.extend(self.ports(weights, scope)?),
            None if op == Op::WeightedSum => {
                let message = "allowed: { weighted-sum = \"ENTRY\", weights = \"ENTRY\" }".to_owned();
                return Err(self.file.wrong(entry.span.clone(), message, None));
            }
            None => {}
        }
        self.graph.add(name, op, &inputs).map_err(|error| self.file.wrong(entry.span.clone(), error.to_string(), None))
    }

    /// The operation of an entry that reads so many channels.
    fn op(&self, entry: &Entry<'a>, scope: &Scope, channels: usize) -> Result<Op> {
        let number = |value: &Value<'_>| self.number(value, scope, channels);
        let main = |what: &str| {
            entry.main.ok_or_else(|| self.file.wrong(entry.span.clone(), format!("allowed: {{ {} = {what} }}", entry.kind), None))
        };
        let or = |key: &str, default: usize| entry.key(key).map_or(Ok(default), number);
        let flag = |key: &str, default: bool| match entry.key(key).map(|value| (value.span(), value.get_ref())) {
            None => Ok(default),
            Some((_, DeValue::Boolean(flag))) => Ok(*flag),
            Some((span, _)) => Err(self.file.wrong(span, format!("`{key}`: allowed: true or false"), None)),
        };
        let share = |value: &Value<'_>| match value.get_ref() {
            DeValue::Float(text) => {
                text.as_str().parse::<f64>().map_err(|_| self.file.wrong(value.span(), "allowed: a number".into(), None))
            }
            _ => integer(value).map(|number| number as f64).ok_or_else(|| self.file.wrong(value.span(), "allowed: a number".into(), None)),
        };
        let real = |value: &Value<'_>| match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f64),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let numbers = |value: &Value<'_>| match value.get_ref() {
            DeValue::Array(all) => all.iter().map(number).collect::<Result<Vec<_>>>(),
            _ => Err(self.file.wrong(value.span(), "allowed: a list of numbers".into(), None)),
        };
        let shape = |value: &Value<'_>| {
            let wrong = || self.file.wrong(value.span(), "allowed: [width], [steps, width] or [channels, height, width]".into(), None);
            Shape::of(&numbers(value)?).ok_or_else(wrong)
        };
        let constant = || {
            let value = main("0.5")?;
            let wrong = |message: String| self.file.wrong(value.span(), message, None);
            let values = match value.get_ref() {
                DeValue::Array(all) => all.iter().map(real).collect::<Option<Vec<f64>>>(),
                _ => real(value).map(|value| vec![value]),
            };
            let values = values.ok_or_else(|| wrong("allowed: a number, or a list of numbers".into()))?;
            let shape = entry.key("shape").map_or(Ok(Shape::Row(values.len())), shape)?;
            Constant::new(shape, values.into_iter().map(|value| value as f32).collect()).map_err(wrong)
        };
        // One number is of height and of width; two are of each.
        let pair = |value: &Value<'_>| match value.get_ref() {
            DeValue::Array(_) => match numbers(value)?.as_slice() {
                [height, width] => Ok([*height, *width]),
                _ => Err(self.file.wrong(value.span(), "allowed: a number, or [height, width]".into(), None)),
            },
            _ => number(value).map(|number| [number; 2]),
        };
        let pair_or = |key: &str, usual: [usize; 2]| entry.key(key).map_or(Ok(usual), pair);
        // Four begin at the top and go on to the left.
        let ends = |value: &Value<'_>| match value.get_ref() {
            DeValue::Array(all) if all.len() == 4 => numbers(value).map(|ends| [[ends[0], ends[2]], [ends[1], ends[3]]]),
            _ => pair(value).map(|[height, width]| [[height; 2], [width; 2]]),
        };
        let conv = |outputs: usize, kernel: [usize; 2], groups: usize| -> Result<Conv> {
            let dilation = pair_or("dilation", [1; 2])?;
            let padding = pair_or("padding", Conv::usual_padding(kernel, dilation))?;
            let (stride, bias) = (pair_or("stride", [1; 2])?, flag("bias", true)?);
            Ok(Conv { outputs, kernel, stride, padding, dilation, groups, bias })
        };
        let pool = || -> Result<Pool> {
            let size = pair(main("2")?)?;
            Ok(Pool { size, stride: pair_or("stride", size)?, padding: entry.key("padding").map_or(Ok([[0; 2]; 2]), ends)? })
        };
        // Those without a number of their own are written as they are, or = true beside other keys.
        let plain = |op: Op| match entry.main.map(|value| (value.span(), value.get_ref())) {
            None | Some((_, DeValue::Boolean(true))) => Ok(op),
            Some((span, _)) => Err(self.file.wrong(span, format!("allowed: \"{0}\", or {{ {0} = true, … }}", entry.kind), None)),
        };
        Ok(match entry.kind {
            "conv" => Op::Conv(conv(number(main("CHANNELS")?)?, pair_or("kernel", [3; 2])?, or("groups", 1)?)?),
            "depthwise" => Op::Conv(conv(channels, pair(main("KERNEL")?)?, channels)?),
            "transposed-conv" => {
                let (kernel, stride) = (or("kernel", 2)?, or("stride", 2)?);
                Op::TransposedConv { outputs: number(main("CHANNELS")?)?, kernel, stride, padding: or("padding", 0)? }
            }
            "linear" => Op::Linear { outputs: number(main("OUTPUTS")?)? },
            "embedding" => {
                let classes = scope.arguments.get("classes").copied().unwrap_or(0);
                Op::Embedding { symbols: or("symbols", classes)?, width: number(main("WIDTH")?)? }
            }
            "lstm" => Op::Lstm { width: number(main("WIDTH")?)? },
            "last" => plain(Op::Last)?,
            "attention" => Op::Attention { heads: number(main("HEADS")?)? },
            "matrix-product" => Op::MatrixProduct,
            "weighted-sum" => Op::WeightedSum,
            "constant" => Op::Constant(constant()?),
            "learned" => Op::Learned(constant()?),
            "batch-norm" => plain(Op::BatchNorm)?,
            "layer-norm" => plain(Op::LayerNorm)?,
            "group-norm" => Op::GroupNorm { groups: number(main("GROUPS")?)? },
            "relu" => plain(Op::Activation(Activation::Relu))?,
            "relu6" => plain(Op::Activation(Activation::Relu6))?,
            "leaky-relu" => Op::Activation(Activation::LeakyRelu(entry.main.map_or(Ok(0.01), share)?)),
            "hard-sigmoid" => plain(Op::Activation(Activation::HardSigmoid))?,
            "hard-swish" => plain(Op::Activation(Activation::HardSwish))?,
            "gelu" => plain(Op::Activation(Activation::Gelu))?,
            "silu" => plain(Op::Activation(Activation::Silu))?,
            "sigmoid" => plain(Op::Activation(Activation::Sigmoid))?,
            "tanh" => plain(Op::Activation(Activation::Tanh))?,
            "softmax" => plain(Op::Softmax)?,
            "max-pool" => Op::MaxPool(pool()?),
            "average-pool" => Op::AveragePool(pool()?),
            "global-average-pool" => plain(Op::GlobalAveragePool)?,
            "global-max-pool" => plain(Op::GlobalMaxPool)?,
            "adaptive-average-pool" => Op::AdaptiveAveragePool { size: number(main("SIZE")?)? },
            "upsample" => Op::Upsample { factor: number(main("2")?)?, bilinear: flag("bilinear", false)? },
            "add" => Op::Add,
            "subtract" => Op::Subtract,
            "multiply" => Op::Multiply,
            "divide" => Op::Divide,
            "mean" => Op::Mean,
            "concatenate" => Op::Concatenate,
            "slice" => {
                let value = main("[FROM, UNTIL]")?;
                match numbers(value)?.as_slice() {
                    [from, until] => Op::Slice { from: *from, until: *until },
                    _ => return Err(self.file.wrong(value.span(), "allowed: [from, until]".into(), None)),
                }
            }
            "flatten" => plain(Op::Flatten)?,
            "gather" => Op::Gather(numbers(main("[CHANNEL, …]")?)?),
            "reshape" => Op::Reshape(shape(main("[CHANNELS, HEIGHT, WIDTH]")?)?),
            "transpose" => plain(Op::Transpose)?,
            "pad" => Op::Pad(ends(main("PIXELS")?)?),
            "dropout" => Op::Dropout(share(main("RATE")?)?),
            other => {
                let make = self.registered.get(other).unwrap_or_else(|| unreachable!("`{other}` is no operation of the list"));
                let given = match entry.main.map(|value| (value, value.get_ref())) {
                    None | Some((_, DeValue::Boolean(true))) => None,
                    Some((value, _)) => Some(real(value).ok_or_else(|| self.file.wrong(value.span(), "allowed: a number".into(), None))?),
                };
                Op::Custom(make(given).map_err(|message| self.file.wrong(entry.span.clone(), message, None))?)
            }
        })
    }

    /// A whole number, or a product such as `"4*channels"` or `"in/2"`.
    fn number(&self, value: &Value<'_>, scope: &Scope, channels: usize) -> Result<usize> {
        let wrong = |message: String, help: Option<String>| self.file.wrong(value.span(), message, help);
        if let Some(number) = integer(value) {
            return Ok(number);
        }
        let DeValue::String(text) = value.get_ref() else {
            let found = self.file.text.get(value.span()).unwrap_or_default();
            return Err(wrong(format!("found {found}; allowed: a whole number >= 0, or a product in quotes such as \"4*channels\""), None));
        };
        let factor = |word: &str| match word.trim() {
            "in" => Ok(channels),
            word if word.parse::<usize>().is_ok() => Ok(word.parse().unwrap_or(0)),
            word => {
                scope.used.borrow_mut().insert(word.into());
                scope.arguments.get(word).copied().ok_or_else(|| {
                    let known: Vec<&str> = scope.arguments.keys().map(String::as_str).chain(["in"]).collect();
                    wrong(format!("`{word}` is no number here"), Some(suggest(word, &known)))
                })
            }
        };
        if text.trim().is_empty() || text.trim_end().ends_with(['*', '/']) {
            return Err(wrong(format!("\"{text}\" is no whole number"), None));
        }
        let mut words = text.split_inclusive(['*', '/']);
        let mut operator = '*';
        words.try_fold(1_usize, |result, word| {
            let number = factor(word.trim_end_matches(['*', '/']))?;
            let next = match operator {
                '*' => result.checked_mul(number),
                _ => result.checked_div(number).filter(|quotient| quotient * number == result),
            };
            operator = word.chars().last().unwrap_or('*');
            next.ok_or_else(|| wrong(format!("\"{text}\" is no whole number, where `in` is {channels}"), None))
        })
    }
}

/// A whole number of at least 0.
fn integer(value: &Value<'_>) -> Option<usize> {
    match value.get_ref() {
        DeValue::Integer(number) => usize::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

/// Whether this is a key of an entry, or an operation.
pub(super) fn is_reserved(name: &str) -> bool {
    ["name", "from", "block", "layers", "repeat", "in", "classes", "input"].contains(&name)
        || OPERATIONS.iter().any(|(operation, options)| *operation == name || options.contains(&name))
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}
