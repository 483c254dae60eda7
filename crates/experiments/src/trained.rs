//! A trained model: an arm of a run, or an ONNX file of any origin.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lyceum_conformal::{
    Intervals, Known, Names, PredictionSets, Predictor as Sets,
    conformal::{Copies, softmax_row},
    regression::Interval,
};
use lyceum_core::{Error, Result, Seed, array};
use lyceum_data::{Extent, Normalization, own::text};
use lyceum_onnx::Model;
use lyceum_train::{
    ModelConfig, Net, ParamSpace, Regression, cpu,
    graph::{Predictor, Shape},
    onnx,
};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// Keys of a model's metadata: the temperature, and the calibrated sets as JSON.
const TEMPERATURE: &str = "lyceum.temperature";
const SETS: &str = "lyceum.sets";

/// What a model predicts that predicts numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What it is called; nothing where the file does not tell it.
    #[serde(default)]
    pub name: String,
    /// Mean and deviation of the training targets: with these weights alone the network gives (y − mean)/deviation.
    #[serde(default = "one")]
    scale: [f32; 2],
    /// Calibrated intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
}

fn one() -> [f32; 2] {
    [0.0, 1.0]
}

impl Target {
    /// A target of this name, with the mean and the deviation by which the network's last step brings it to its units.
    pub fn new(name: String, scale: [f32; 2], intervals: Option<Intervals>) -> Self {
        Self { name, scale, intervals }
    }

    /// The entry of a model's metadata.
    pub fn metadata(&self) -> (String, String) {
        (onnx::TARGET.to_owned(), serde_json::json!(self).to_string())
    }
}

/// A network with what is needed to ask it.
#[derive(Debug)]
pub struct Trained {
    net: Net,
    predictor: Predictor,
    /// What is predicted, where this is a number.
    pub target: Option<Target>,
    /// The names of the classes; numbers where the file does not tell them, none where a number is predicted.
    pub classes: Vec<String>,
    /// Logits are divided by it before the softmax.
    pub temperature: f64,
    /// Calibrated prediction sets.
    pub sets: Option<Sets>,
    /// What the groups of sets by group are called, where they have names.
    pub groups: Vec<String>,
    /// What inputs are normalised by.
    pub normalization: Normalization,
    picture: Option<Extent>,
    text: bool,
    /// What the numbers of an example are called, where the model was trained on a table.
    pub columns: Vec<String>,
}

/// What a file may leave open.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The shape of an example.
    pub input: Option<Shape>,
    /// The name of the output.
    pub output: Option<String>,
}

/// The metadata for a temperature and sets.
///
/// # Errors
///
/// Sets that cannot be written as JSON.
pub fn metadata(temperature: f64, sets: Option<&Sets>, groups: &[String]) -> Result<Vec<(String, String)>> {
    let mut metadata = vec![(TEMPERATURE.to_owned(), temperature.to_string())];
    if let Some(sets) = sets {
        let names = Names { classes: Vec::new(), groups: groups.to_vec() };
        metadata.push((SETS.to_owned(), sets.to_json_named(&names)?));
    }
    Ok(metadata)
}

/// The file of a model: the path itself, or the file in the folder of an arm. Of a run with several arms, the path must name one.
///
/// # Errors
///
/// A path where there is none, and a run of several arms, which are named.
pub fn file_of(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let own = path.join(onnx::FILE);
    if own.is_file() {
        return Ok(own);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))?.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ if entry.file_name() == onnx::FILE => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let hint = "Runs of `train`, `certify` and `regress` keep their networks there.".into();
            Err(Error::Missing { path: own, hint })
        }
        several => {
            let parts: Vec<String> = several.iter().filter_map(|file| Some(format!("{}", file.parent()?.display()))).collect();
            Err(Error::invalid("the model", format!("{}, a run with several", path.display()), parts.join(", ")))
        }
    }
}

impl Trained {
    /// Opens a model: an ONNX file, an arm's folder, a run with one arm, or weights of a run (a .safetensors file in an arm's folder). A
    /// softmax at the end of the network is left out, so that it gives logits.
    ///
    /// # Errors
    ///
    /// Files that are no models, and models that do not fit; see [`onnx::import`].
    pub fn open(path: &Path, opening: &Opening) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return Self::of_weights(path);
        }
        let file = file_of(path)?;
        let model = Model::read(&file)?;
        let imported = onnx::import(&file, &model, opening.input, opening.output.as_deref())?;
        let net = imported.net(Seed::new(0), &cpu())?;
        let told = |key: &str| imported.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let count = net.graph().output().len();
        let wrong = |key: &str, found: &str| Error::damaged(&file, format!("`{key}` of its metadata is {found:.60}"));
        let target = match told(onnx::TARGET) {
            Some(text) => Some(serde_json::from_str(text).map_err(|error| wrong(onnx::TARGET, &error.to_string()))?),
            None if count == 1 => Some(Target::new(String::new(), one(), None)),
            None => None,
        };
        if target.is_some() && ![1, 3].contains(&count) {
            return Err(wrong(onnx::TARGET, &format!("of a network that gives {count} numbers; allowed: 1, or 3 quantiles")));
        }
        let classes = match onnx::class_names(&file, &model)? {
            _ if target.is_some() => Vec::new(),
            Some(names) if names.len() == count => names,
            Some(names) => return Err(wrong(onnx::CLASSES, &format!("a list of {} names; allowed: {count}", names.len()))),
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        let temperature = match told(TEMPERATURE) {
            Some(text) => {
                text.parse().ok().filter(|value: &f64| *value > 0.0 && value.is_finite()).ok_or_else(|| wrong(TEMPERATURE, text))?
            }
            None => 1.0,
        };
        let (sets, names) = told(SETS).map(Sets::from_json_named).transpose()?.unzip();
        let numbers = |key: &str| match told(key) {
            Some(text) => serde_json::from_str::<Vec<f32>>(text).map_err(|_| wrong(key, text)),
            None => Ok(Vec::new()),
        };
        if let Some(sets) = sets.as_ref().filter(|sets| sets.classes() != count) {
            return Err(wrong(SETS, &format!("of {} labels", sets.classes())));
        }
        let predictor = match imported.without_softmax()? {
            Some(logits) if target.is_none() => logits.net(Seed::new(0), &cpu())?.predictor()?,
            _ => net.predictor()?,
        };
        let picture = match (net.graph().input(), told(onnx::PICTURE)) {
            (Shape::Images([channels, height, width]), _) => Some(Extent { channels, height, width }),
            (other, Some(text)) => {
                let extents =
                    serde_json::from_str::<[usize; 3]>(text).ok().filter(|extents| extents.iter().product::<usize>() == other.len());
                let [channels, height, width] = extents.ok_or_else(|| wrong(onnx::PICTURE, text))?;
                Some(Extent { channels, height, width })
            }
            (_, None) => None,
        };
        let channels = picture.map_or(net.graph().input().channels(), |picture| picture.channels);
        let normalization = Normalization::new(numbers(onnx::MEAN)?, numbers(onnx::STD)?, channels)
            .map_err(|error| Error::damaged(&file, error.to_string()))?;
        let text = match told(onnx::TEXT) {
            None => false,
            Some("bytes") => true,
            Some(other) => return Err(wrong(onnx::TEXT, other)),
        };
        let columns = match told(onnx::COLUMNS) {
            None => Vec::new(),
            Some(text) => serde_json::from_str(text).map_err(|_| wrong(onnx::COLUMNS, text))?,
        };
        Ok(Self {
            text,
            columns,
            target,
            picture,
            net,
            predictor,
            classes,
            temperature,
            sets,
            groups: names.unwrap_or_default().groups,
            normalization,
        })
    }

    /// Other weights of a run's network: of its best epoch, of a checkpoint. Temperature and sets are of the last epoch, and left out.
    fn of_weights(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct OfRecipe {
            experiment: String,
            model: ModelConfig,
        }
        let bytes = fs::read(path).map_err(Error::missing_or_io("read", path, "The weights of a run were to be here."))?;
        let arrays = array::decode(path, &bytes)?;
        let above = |file: &str| path.ancestors().skip(1).map(|folder| folder.join(file)).find(|file| file.is_file());
        let missing =
            || Error::damaged(path, "lies in no run; allowed: weights in the folder of an arm, beside whose model.onnx they belong");
        let (recipe, kept) = above("recipe.toml").zip(above(onnx::FILE)).ok_or_else(missing)?;
        let last = Self::open(&kept, &Opening::default())?;
        let text = fs::read_to_string(&recipe).map_err(Error::io("read", &recipe))?;
        let config: OfRecipe = toml::from_str(&text).map_err(|error| Error::damaged(&recipe, error.to_string()))?;
        let extent = last.picture.unwrap_or(Extent { channels: 1, height: 1, width: last.input().len() });
        // A smaller network is another than that of the recipe.
        let net = match config.experiment.as_str() {
            "shrink" => last.net.clone(),
            _ => config.model.init(extent, last.net.graph().output().len(), Seed::new(0), &cpu())?,
        };
        let mut net = ParamSpace::of(&net).load(net, &arrays).map_err(|error| Error::damaged(path, error.to_string()))?;
        let target = last.target.map(|target| Target { intervals: None, ..target });
        if let Some(Target { scale: [mean, deviation], .. }) = target {
            net = net.rescaled(deviation, mean)?;
        }
        let predictor = net.predictor()?;
        Ok(Self {
            net,
            predictor,
            target,
            temperature: 1.0,
            sets: None,
            groups: Vec::new(),
            picture: Some(extent).filter(|extent| extent.height > 1),
            ..last
        })
    }

    /// The shape of an example.
    pub fn input(&self) -> Shape {
        self.net.graph().input()
    }

    /// The extent of the pictures it reads.
    ///
    /// # Errors
    ///
    /// A model of numbers that are no pictures.
    pub fn picture(&self, asked: &str) -> Result<Extent> {
        self.picture.ok_or_else(|| {
            let allowed = format!("rows of {} numbers: the network reads no images", self.input().len());
            Error::invalid("the examples", asked, allowed)
        })
    }

    /// A row for a text.
    ///
    /// # Errors
    ///
    /// A model that reads no texts.
    pub fn row_of_text(&self, text: &str) -> Result<Vec<f32>> {
        if self.text {
            Ok(text::symbols(text, self.input().len()))
        } else {
            Err(Error::invalid("the examples", "texts", "numbers or pictures: the network was not trained on texts"))
        }
    }

    /// How many channels examples have.
    pub fn channels(&self) -> usize {
        self.picture.map_or(self.input().channels(), |picture| picture.channels)
    }

    /// Whether it reads texts.
    pub fn reads_text(&self) -> bool {
        self.text
    }

    /// The extents of an example: those of a picture, where it reads pictures, also as rows of numbers.
    pub fn extents(&self) -> Vec<usize> {
        match self.picture {
            Some(Extent { channels, height, width }) => vec![channels, height, width],
            None => self.input().extents().to_vec(),
        }
    }

    /// The network, with a softmax at its end if it has one.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The logits of examples, a row each, as they are before they are normalised.
    ///
    /// # Errors
    ///
    /// Rows of another width.
    pub fn logits(&self, rows: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        if self.normalization.is_empty() {
            return self.predictor.logits(rows);
        }
        let mut rows = rows.as_standard_layout().into_owned();
        for mut row in rows.rows_mut() {
            self.normalization.apply(row.as_slice_mut().unwrap_or_default(), self.channels());
        }
        self.predictor.logits(rows.view())
    }

    /// What is predicted of examples, a number each, from what the network gives, with calibrated intervals where the model has them.
    ///
    /// # Errors
    ///
    /// A model of classes, and outputs that are not finite.
    pub fn numbers(&self, given: &Array2<f32>) -> Result<(Vec<f64>, Option<Vec<Interval>>)> {
        let target = self.target.as_ref().ok_or_else(|| Error::invalid("the model", "one of classes", "one that predicts numbers"))?;
        let values = given.rows().into_iter().map(Regression::prediction).collect();
        Ok((values, target.intervals.map(|intervals| intervals.of(given.mapv(f64::from).view())).transpose()?))
    }

    /// The probabilities of logits: softmax at the model's temperature.
    ///
    /// # Errors
    ///
    /// A model that predicts numbers, and logits that are not finite.
    pub fn probabilities(&self, logits: &Array2<f32>) -> Result<Array2<f64>> {
        if self.target.is_some() {
            return Err(Error::invalid("the model", "one that predicts numbers", "one of classes"));
        }
        let mut found = Array2::zeros(logits.dim());
        for (row, (logits, mut found)) in logits.rows().into_iter().zip(found.rows_mut()).enumerate() {
            let probabilities = logits.as_slice().and_then(|logits| softmax_row(logits, self.temperature));
            let probabilities = probabilities
                .ok_or_else(|| Error::invalid(format!("the logits of example {row}"), "some that are not finite", "finite numbers"))?;
            found.iter_mut().zip(probabilities).for_each(|(found, p)| *found = p);
        }
        Ok(found)
    }

    /// The calibrated sets of the next part of some logits: the parts, with one `copies`, have the sets of the whole. `known` is what sets by
    /// group need.
    ///
    /// # Errors
    ///
    /// A model without calibrated sets.
    pub fn sets_of(&self, copies: &mut Copies, logits: &Array2<f32>, known: Known<'_>, seed: u64) -> Result<PredictionSets> {
        let sets =
            self.sets.as_ref().ok_or_else(|| Error::invalid("the model", "no calibrated sets", "one of `certify`, or sets in a file"))?;
        sets.predict_part(copies, logits.view(), known, Seed::new(seed).child("conformal/test"))
    }

    /// Writes the model as an ONNX file with its metadata.
    ///
    /// # Errors
    ///
    /// Operations that ONNX has no form for, by name.
    pub fn export(&self, path: &Path) -> Result<()> {
        let mut metadata = match &self.target {
            Some(target) => vec![target.metadata()],
            None => metadata(self.temperature, self.sets.as_ref(), &self.groups)?,
        };
        metadata.extend(onnx::normalization(&self.normalization));
        if !self.columns.is_empty() {
            metadata.push((onnx::COLUMNS.to_owned(), serde_json::json!(self.columns).to_string()));
        }
        if self.text {
            metadata.push((onnx::TEXT.to_owned(), "bytes".to_owned()));
        }
        if let (Some(Extent { channels, height, width }), false) = (self.picture, matches!(self.input(), Shape::Images(_))) {
            metadata.push((onnx::PICTURE.to_owned(), serde_json::json!([channels, height, width]).to_string()));
        }
        onnx::export(&self.net, onnx::with_classes(&self.classes, metadata))?.write(path)
    }
}
